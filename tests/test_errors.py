from clipseg_ray.errors import UserError, brief, last_line, meant, nearest


def test_brief_is_one_line_cut_and_never_empty():
    assert brief(ValueError("two\n  lines")) == "two lines"
    assert brief(ValueError("longer"), 4) == "long"
    assert brief(ValueError("\n")) == "ValueError"


def test_the_last_line_is_that_of_the_cause_without_its_type():
    remote = RuntimeError("Traceback:\n  File x\nclipseg_ray.errors.UserError: no such bucket\n ...\n")
    error = RuntimeError("outer")
    error.__cause__ = remote
    assert last_line(error) == "no such bucket"
    assert last_line(UserError("")) == "UserError"


def test_the_name_that_was_meant():
    names = ["circle", "square", "squares"]
    assert nearest("circel", names) == ["circle"]
    assert nearest("squar", names, most=3) == ["square", "squares"]
    assert nearest("dog", names) == []
    assert meant("circel", names, "builtin:{}") == "did you mean builtin:circle? There are circle, square, squares"
    assert meant("dog", names) == "there are circle, square, squares"
    assert meant("dog", {}) == "there are none"
