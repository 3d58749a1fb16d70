"""Compares counts of instructions with those that were written down; scripts/instructions calls it.

    compare.py FILE MACHINE [--write] < what gungraun prints as JSON, an object for each count
"""

import json
import sys
import tomllib

# A count moves a little with the layout of the program; what a change costs shows above that.
ALLOWED = 0.05


def counted(lines):
    """The counts by name."""
    counts = {}
    for line in lines:
        if not line.startswith("{"):
            continue
        summary = json.loads(line)
        (profile,) = [each for each in summary["profiles"] if each["tool"] == "Callgrind"]
        value = profile["data"]["total"]["metrics"]["Ir"]["values"]["new"]
        if isinstance(value, dict):
            (value,) = value.values()
        counts[f"{summary['function_name']}.{summary['id']}"] = int(value)
    return counts


def write(path, machine, counts):
    """Writes the file anew."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("# Instructions of the pure parts, release build; `make instructions ARGS=--write` writes this file.\n")
        file.write(f'machine = "{machine}"\n\n[counts]\n')
        for name, count in sorted(counts.items()):
            file.write(f'"{name}" = {count}\n')


def compare(path, machine, counts):
    """Says how each differs; returns whether one takes too many."""
    with open(path, "rb") as file:
        known = tomllib.load(file)
    if known["machine"] != machine:
        print(f"counted by {machine}; the file is of {known['machine']}, which may explain differences")
    fails = False
    for name in sorted(known["counts"].keys() | counts.keys()):
        before, now = known["counts"].get(name), counts.get(name)
        if before is None or now is None:
            verdict, fails = "FAILED: not in the file" if before is None else "FAILED: not counted", True
        else:
            change = now / before - 1
            verdict = f"{change:+.2%}"
            if change > ALLOWED:
                verdict, fails = f"FAILED: {verdict}, more than {ALLOWED:.0%} above", True
        print(f"{name:30} {before or '-':>12} {now or '-':>12}  {verdict}")
    return fails


def main():
    path, machine, *options = sys.argv[1:]
    if options not in ([], ["--write"]):
        sys.exit(f"instructions: {' '.join(options)} is not understood; --write is")
    counts = counted(sys.stdin)
    if not counts:
        sys.exit("instructions: nothing was counted")
    if options:
        write(path, machine, counts)
        print(f"{len(counts)} counts in {path}")
        return
    try:
        fails = compare(path, machine, counts)
    except FileNotFoundError:
        sys.exit(f"instructions: {path} is not there yet; --write makes it")
    if fails:
        sys.exit(1)


if __name__ == "__main__":
    main()
