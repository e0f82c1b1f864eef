"""The table of what took the time."""

from tests.times import main

CASE = """<testcase classname="{0}" name="{1}"><properties>
<property name="cpu_seconds" value="{2}" /></properties></testcase>"""


def test_the_slowest_come_first_and_folders_are_summed(tmp_path, capsys):
    cases = [("tests.layers.test_a", "x", 1.5), ("tests.test_b", "y", 4)]
    cases += [("tests.layers.test_c", "z[1]", 0.5)]
    text = "".join(CASE.format(*case) for case in cases)
    (tmp_path / "run.xml").write_text(f"<testsuites>{text}</testsuites>")
    main(tmp_path / "run.xml")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:2] == ["6", "CPU"] and lines[1] == ["4", "tests/test_b"]
    assert ["2", "tests/layers"] in lines
    assert lines[-3] == ["4.0", "tests/test_b::y"]
    assert lines[-1] == ["0.5", "tests/layers/test_c::z[1]"]
