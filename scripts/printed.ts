/**
 * What a program is said to print, and whether it does.
 *
 * A claim is a block that is marked: `Prints:` before a block of text in a page, or a comment at the end of an example
 * that begins with `Prints`. Where output differs from run to run, the claim has `…`, which stands for
 * anything within its line.
 */

/** What an example says that it prints, in the comment at its end; nothing where there is no such comment. */
export const claimOf = (code: string): string | undefined => /\n\/\* Prints\b.*:\n([\s\S]*?)\*\/\s*$/.exec(code)?.[1]

/** The first line that differs, and how; nothing where the output is what is claimed. */
export const difference = (claim: string, output: string): string | undefined => {
  const expected = claim.trimEnd().split("\n")
  const actual = output.trimEnd().split("\n")
  for (let line = 0; line < Math.max(expected.length, actual.length); line++) {
    const [wanted, found] = [expected[line], actual[line]]
    if (wanted !== undefined && found !== undefined && pattern(wanted).test(found)) continue
    return `line ${line + 1} should be ${quote(wanted)}, but is ${quote(found)}`
  }
  return undefined
}

const quote = (line: string | undefined): string => line === undefined ? "absent" : JSON.stringify(line)

const pattern = (line: string): RegExp =>
  new RegExp(`^${line.split("…").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`)
