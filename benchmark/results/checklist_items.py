"""List what two guidelines ask of a paper, in our own words, and what an author must write where no record answers.

The wording is not the guidelines': read them before you submit. CLAIM's numbers were compared with a public summary of
all 44 items, not with the article. Of Metrics Reloaded, FP2.1, FP2.2, FP2.5, FP2.7.1 and FP4.2 are numbers of its
Table 1, and FP1.1, FP3.1, FP3.6, FP4.3.1, FP4.6 and FP5.2 those of texts that cite it; a word in brackets stands for a
number that could not be looked up. Its questions on centre lines and tubes are left out, as tumours have none.
"""

from __future__ import annotations

from typing import NamedTuple


class Item(NamedTuple):
    """A question: its number, its section, what it asks, what to ``write`` where nothing is recorded, and what is
    left to say (``more``) where something is."""

    number: str
    section: str
    asks: str
    write: str
    more: str = ""


CLAIM = (
    Item("1", "Title and abstract", "Title", "name the kind of AI (deep learning) in the title"),
    Item("2", "Title and abstract", "Abstract", "design, patients, methods and results", "the abstract itself"),
    Item("3", "Introduction", "Background and clinical role", "the clinical problem and the part AI would have in it"),
    Item("4", "Introduction", "Aims and hypotheses", "aims and hypotheses", "the aim in words"),
    Item("5", "Study design", "Prospective or retrospective", "which of the two, and when the scans were made"),
    Item("6", "Study design", "Goal of the study", "what the study is to achieve", "the clinical question behind it"),
    Item("7", "Data", "Sources", "where the data are from"),
    Item("8", "Data", "Criteria for inclusion", "the publisher's criteria, and your own"),
    Item(
        "9", "Data", "Preprocessing", "how images were prepared", "what the publisher did before (registration, skulls)"
    ),
    Item("10", "Data", "Subsets of the data", "which part was used, and why", "why this part, if not all"),
    Item("11", "Data", "De-identification", "how identities were removed, and by whom"),
    Item(
        "12",
        "Data",
        "Missing data",
        "what is missing and what was done",
        "sequences or clinical data that were missing",
    ),
    Item("13", "Data", "Acquisition", "scanners, sequences, resolution", "scanners, field strengths, parameters"),
    Item("14", "Reference standard", "Definition", "what the reference is", "how the outlines were made"),
    Item("15", "Reference standard", "Why this reference", "why it was chosen, and its limits"),
    Item("16", "Reference standard", "Who annotated", "how many, with what training and experience"),
    Item("17", "Reference standard", "Annotation of the test set", "how, and with which tools"),
    Item("18", "Reference standard", "Agreement of annotators", "their variability, and how they settled differences"),
    Item("19", "Partitions", "How cases were assigned", "sizes and how they were dealt"),
    Item("20", "Partitions", "Level of separation", "what no two partitions share"),
    Item("21", "Testing data", "Intended sample size", "how many were planned, and why", "how the number was planned"),
    Item("22", "Model", "Description", "inputs, outputs and layers"),
    Item("23", "Model", "Software", "libraries and versions"),
    Item("24", "Model", "Initial weights", "random or pretrained, and from where"),
    Item("25", "Training", "Procedure", "augmentation, optimiser, settings, stopping"),
    Item("26", "Training", "Choice of the final model", "by what it was chosen"),
    Item("27", "Training", "Ensembles", "whether and how models were joined"),
    Item("28", "Evaluation", "Metrics", "which, and why", "why these fit the clinical question"),
    Item("29", "Evaluation", "Significance and uncertainty", "tests, intervals, corrections"),
    Item("30", "Evaluation", "Robustness", "what was varied", "robustness to scanners, noise or missing sequences"),
    Item("31", "Evaluation", "Explainability", "the method and its check, or that there was none"),
    Item("32", "Evaluation", "Test on internal data", "what was tested on whom"),
    Item("33", "Evaluation", "Test on external data", "a test on other data, or why there is none"),
    Item("34", "Evaluation", "Trial registration", "registry and number, or that it is no trial"),
    Item(
        "35",
        "Results: data",
        "Numbers in and out",
        "included and excluded, as a flow chart",
        "exclusions before the set",
    ),
    Item("36", "Results: data", "Patients' characteristics", "age, sex, grade and treatment, by partition"),
    Item("37", "Results: models", "Performance", "each model's scores against the reference"),
    Item("38", "Results: models", "Precision of estimates", "intervals of all estimates"),
    Item("39", "Results: models", "Failures", "which cases failed, and why", "what these cases have in common"),
    Item("40", "Discussion", "Limitations", "what limits the results", "limits of the data and of the question"),
    Item("41", "Discussion", "Implications", "what should change in practice, and what stands in the way"),
    Item("42", "Other", "Full protocol", "where it can be read", "an address that readers can open"),
    Item("43", "Other", "Availability", "of code, weights and data", "addresses of code and trained weights"),
    Item("44", "Other", "Funding", "sources, and the funders' part"),
)

METRICS_RELOADED = (
    Item("FP1.1", "Problem", "Category", "segmentation, detection or classification"),
    Item("FP2.1", "Interest", "Do boundaries matter?", "whether", "whether they do"),
    Item("FP2.2", "Interest", "Does volume matter?", "whether", "whether it does"),
    Item(
        "FP2.5", "Interest", "Are errors unequal?", "whether missed or added tumour is worse", "which of them is worse"
    ),
    Item(
        "FP2.7.1",
        "Interest",
        "Must confidence be calibrated?",
        "whether; no run kept its probabilities",
        "whether it must",
    ),
    Item("FP3.1", "Structures", "Small, of varying size?", "their sizes in voxels"),
    Item("FP3.6", "Structures", "In several parts?", "how often"),
    Item("FP4 (balance)", "Data", "Classes out of balance?", "the share of each class"),
    Item("FP4.2", "Data", "Prevalence as in practice?", "whether the set is like the patients of practice"),
    Item(
        "FP4.3.1", "Data", "Does the reference vary by annotator?", "by how much; a tolerance (NSD) should be that wide"
    ),
    Item(
        "FP4 (dependence)",
        "Data",
        "Cases that depend on each other?",
        "several cases per patient, and how they were averaged",
    ),
    Item("FP4.6", "Data", "Can the reference be empty?", "how often, and its score"),
    Item("FP5.2", "Output", "Can the prediction be empty?", "how often, and its score"),
    Item("FP5 (invalid)", "Output", "Can the prediction be invalid?", "how often, and its score"),
)
