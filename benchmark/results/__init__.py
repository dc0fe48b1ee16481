"""Turn a finished study into its report, answers and a verdict."""
