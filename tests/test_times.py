"""The table of the slowest tests."""

from tests.times import seconds_by_test, table

CASE = """<testcase classname="tests.{0}" name="{1}"><properties>
<property name="cpu_seconds" value="{2}" /></properties></testcase>"""


def test_the_slowest_come_first_and_folders_are_summed():
    cases = [("layers.test_a", "x", 1.5), ("models.test_b", "y", 4)]
    cases += [("layers.test_c", "z[1]", 0.5)]
    text = "".join(CASE.format(*case) for case in cases)
    seconds = seconds_by_test(f"<testsuites>{text}</testsuites>")
    first, second, third, *rest = table(seconds).splitlines()
    assert first.split() == ["4.0", "tests.models.test_b::y"]
    assert third.split() == ["0.5", "tests.layers.test_c::z[1]"]
    assert ["2.0", "tests.layers"] in [line.split() for line in rest]
    assert rest[-1].split()[0] == "6.0"
