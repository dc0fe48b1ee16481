"""What ``provenance.json`` says of the code of a study's runs."""

from benchmark.studies import code, provenance


def identity(*paths, **changed):
    config = {f"part{number}": {"_target_": f"benchmark.{path}"} for number, path in enumerate(paths)}
    return {"code": code.hashes(config) | changed, "config": config}


def codes(*identities):
    return provenance._codes(identities)


def test_two_definitions_of_one_name_are_no_two_states_of_it():
    slices, patches = "data.slices.loader", "data.patches.loader"
    found = codes(identity(slices), identity(patches), identity(patches, "data.volumes.read"))
    assert set(found) >= {"data.slices.loader", "data.patches.loader"} and "loader" not in found
    assert {len(hashes) for hashes in found.values()} == {1}
    assert set(codes(identity(slices), identity(slices))) == {"loader"}


def test_other_code_of_one_definition_is_another_state_of_it():
    slices, patches = "data.slices.loader", "data.patches.loader"
    assert len(codes(identity(slices), identity(slices, loader="old"))["loader"]) == 2
    found = codes(identity(slices), identity(patches), identity(patches, loader="old"))
    assert [len(found[f"data.{room}.loader"]) for room in ("slices", "patches")] == [1, 2]
