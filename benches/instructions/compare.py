"""Compares instruction counts with the stored ones. Called by scripts/instructions.

    compare.py FILE MACHINE [--write] < JSON output of gungraun, one object a line
"""

import json
import sys
import tomllib

# Counts change a little with the layout of the program.
TOLERANCE = 0.05


def read_counts(lines):
    """Returns the counts by name."""
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
    with open(path, "w", encoding="utf-8") as file:
        file.write("# Instruction counts of a release build. Written by `make instructions ARGS=--write`.\n")
        file.write(f'machine = "{machine}"\n\n[counts]\n')
        file.writelines(f'"{name}" = {count}\n' for name, count in sorted(counts.items()))


def compare(path, machine, counts):
    """Prints one line for each count. Returns whether a count grew beyond the tolerance or is missing."""
    with open(path, "rb") as file:
        stored = tomllib.load(file)
    if stored["machine"] != machine:
        print(f"counted by {machine}, stored counts by {stored['machine']}; this may explain differences")
    has_failed = False
    for name in sorted(stored["counts"].keys() | counts.keys()):
        before, now = stored["counts"].get(name), counts.get(name)
        # A count that exists on one side only is a failure.
        change = now / before - 1 if before and now else float("inf")
        has_failed |= change > TOLERANCE
        result = "FAILED" if change > TOLERANCE else ""
        print(f"{name:30} {before or '-':>12} {now or '-':>12} {change:+9.2%}  {result}")
    return has_failed


def main():
    path, machine, *options = sys.argv[1:]
    if options not in ([], ["--write"]):
        sys.exit(f"instructions: unknown option {' '.join(options)}; the only option is --write")
    counts = read_counts(sys.stdin)
    if not counts:
        sys.exit("instructions: the benchmark printed no counts")
    if options:
        write(path, machine, counts)
        print(f"wrote {len(counts)} counts to {path}")
    elif compare(path, machine, counts):
        sys.exit(1)


if __name__ == "__main__":
    main()
