"""Submission lines, which Slurm keeps without quotes."""

from operators.slurm.scripts.submit_line import find_option, read_words


def test_options_end_at_the_script() -> None:
    cases = [
        ("sbatch --parsable -- ./proj/conv.sh --input=x --output=results.csv", "conv.sh", [None]),
        ("sbatch --parsable --mem=10 ./conv.sh -o results.csv", "conv.sh", [None]),
        ("sbatch --parsable -- /dev/stdin --output=x", "stdin", [None]),
        ("sbatch -o real.out run.sh -o data", "run.sh", ["real.out"]),
        ("/opt/slurm/bin/sbatch -oreal.out run.sh -o data", "run.sh", ["real.out"]),
        ("sbatch -N 2 -Ho real.out run.sh", "run.sh", ["real.out"]),
        ("sbatch --out real.out --exclusive run.sh", "run.sh", ["real.out"]),
        ("sbatch --output a --output=b run.sh", "run.sh", ["b"]),
        ("sbatch", "sbatch", [None]),
        ("sbatch -p a,b -t 10 --mem 4G -o out.txt", "sbatch", ["out.txt"]),
        ("salloc -o x run.sh", "run.sh", []),
        ("", "x", []),
    ]
    for line, name, values in cases:
        assert find_option(line, name, "output") == values, line


def test_values_may_contain_spaces_and_what_looks_like_options() -> None:
    cases = [
        ("sbatch --parsable --output=my run.out -- ./run.sh -o x", "run.sh", ["my run.out"]),
        ("sbatch --parsable --output=my run.out --job-name=a b -- x.sh", "a b", ["my run.out"]),
        ("sbatch --parsable --output=a.out --job-name=-x -o b -- s", "-x -o b", ["a.out"]),
        ("sbatch --parsable --output=my run.out --", "sbatch", ["my run.out"]),
        ('sbatch -o r.out -J it"s me run.sh', "it`s me", ["r.out"]),
        ("sbatch --comment=two words -o real.out run.sh", "run.sh", ["real.out"]),
        ("sbatch --comment=hi conv.sh --output=results.csv", "conv.sh", [None]),
    ]
    for line, name, values in cases:
        assert find_option(line, name, "output") == values, line


def test_command_of_wrap_hides_its_options() -> None:
    values = find_option("sbatch --wrap=prog --output=data.csv", "wrap", "output")
    assert values == [None, "data.csv"]
    assert find_option("sbatch -o a --wrap=prog -o b", "wrap", "output") == ["a", "b"]


def test_errors_go_where_the_output_goes_unless_they_are_named() -> None:
    assert find_option("sbatch -o a -e b s.sh", "s.sh", "error", "output") == ["b"]
    assert find_option("sbatch -o a s.sh", "s.sh", "error", "output") == ["a"]


def test_words_of_a_script_are_read_one_by_one() -> None:
    words = ["-J", "a b", "--output", "my x", "--exclusive", "--error=e", "file", "--output=no"]
    assert read_words(words) == {
        "job-name": "a b",
        "output": "my x",
        "exclusive": "",
        "error": "e",
    }


def test_line_with_too_many_readings_says_nothing() -> None:
    words = " ".join(f"w{n}" for n in range(2000))
    assert find_option(f"sbatch -o x --comment={words} -- ./s {words}", "s", "output") == []
    wraps = "--wrap=a " * 60
    assert find_option(f"sbatch {wraps}--job-name=other -o x", "s", "output") == []
