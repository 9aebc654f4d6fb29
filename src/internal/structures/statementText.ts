/** The text of a statement, and other texts of callers, as lists, events and messages show them. */

/** The number of characters that are kept. */
const mostCharacters = 1000

/** At most so many characters are read. A list of all the placeholders that SQLite allows is not longer. */
const mostRead = 100_000

/**
 * The text of a statement in one line, at most 1000 characters long. Lists of placeholders are folded: `(?, ?, ?)` is
 * `(?, ...)`, so that statements that differ only in the length of a list have one text. Its memory is its own: a slice of
 * a long text would keep all of that text alive.
 *
 * It reads only as far as it needs for these 1000 characters, so a text of megabytes costs no more than a short one. Of a
 * long list it reads at most `most` characters.
 */
export const shortTextOf = (text: string, most = mostRead): string => {
  const end = Math.min(text.length, most)
  const codes: Array<number> = []
  let index = 0
  while (index < end && codes.length <= mostCharacters) {
    if (!isSpace(text.charCodeAt(index))) {
      index = fold(text, index, end, codes)
      continue
    }
    index = afterSpace(text, index, end)
    if (codes.length > 0 && index < end) codes.push(space)
  }
  const short = cut(String.fromCharCode(...codes), mostCharacters)
  return codes.length <= mostCharacters && end < text.length ? `${short}...` : short
}

const [space, bracket, closingBracket, comma, question, dollar, at, p, zero, nine] = Array.from(
  " (),?$@p09",
  (character) => character.charCodeAt(0)
) as [number, number, number, number, number, number, number, number, number, number]

const isSpace = (code: number): boolean =>
  code === space || (code >= 9 && code <= 13) || (code > 127 && /\s/.test(String.fromCharCode(code)))

/** Copies the character at this index, or a list of placeholders or of rows of them, folded. Returns the index after it. */
const fold = (text: string, index: number, end: number, codes: Array<number>): number => {
  const row = afterRow(text, index, end)
  const placeholder = afterPlaceholder(text, row < 0 ? index : index + 1, end)
  copy(text, index, placeholder < 0 ? index + 1 : placeholder, codes)
  if (placeholder < 0) return index + 1
  if (row < 0) return foldRest(text, placeholder, end, codes, afterPlaceholder)
  foldRest(text, placeholder, end, codes, afterPlaceholder)
  codes.push(closingBracket)
  return foldRest(text, row, end, codes, afterRow)
}

const copy = (text: string, from: number, to: number, codes: Array<number>): void => {
  for (let index = from; index < to; index++) codes.push(text.charCodeAt(index))
}

/** The index after what is at an index, or -1 if that is something else. */
type After = (text: string, index: number, end: number) => number

/** Writes `, ...` for the members of a list after the first one. Returns the index after the last one. */
const foldRest = (text: string, index: number, end: number, codes: Array<number>, after: After): number => {
  const last = afterRest(text, index, end, after)
  if (last > index) copy(rest, 0, rest.length, codes)
  return last
}

const rest = ", ..."

/** The index after the last member of a list, of which the first member ends at `index`. */
const afterRest = (text: string, index: number, end: number, after: After): number => {
  for (let last = index;;) {
    const next = afterSpace(text, last, end)
    if (next >= end || text.charCodeAt(next) !== comma) return last
    const member = after(text, afterSpace(text, next + 1, end), end)
    if (member < 0) return last
    last = member
  }
}

/** `(?)`, or `(?, ?)` and so on. */
const afterRow: After = (text, index, end) => {
  if (text.charCodeAt(index) !== bracket) return -1
  const first = afterPlaceholder(text, index + 1, end)
  if (first < 0) return -1
  const last = afterRest(text, first, end, afterPlaceholder)
  return last < end && text.charCodeAt(last) === closingBracket ? last + 1 : -1
}

/** `?`, `$1` or `@p1`. */
const afterPlaceholder: After = (text, index, end) => {
  if (index >= end) return -1
  switch (text.charCodeAt(index)) {
    case question:
      return index + 1
    case dollar:
      return afterDigits(text, index + 1, end)
    case at:
      return text.charCodeAt(index + 1) === p ? afterDigits(text, index + 2, end) : -1
    default:
      return -1
  }
}

const afterDigits: After = (text, index, end) => {
  let after = index
  while (after < end && text.charCodeAt(after) >= zero && text.charCodeAt(after) <= nine) after++
  return after === index ? -1 : after
}

const afterSpace = (text: string, index: number, end: number): number => {
  let after = index
  while (after < end && isSpace(text.charCodeAt(after))) after++
  return after
}

/** A text, cut after this number of characters. */
export const cut = (text: string, most: number): string => {
  if (text.length <= most) return text
  const last = text.charCodeAt(most - 1)
  // Half of a character would be no text.
  return `${text.slice(0, last >= 0xd800 && last < 0xdc00 ? most - 1 : most)}...`
}

/** A text, cut after this number of characters. If it is cut, its memory is its own. */
export const cutCopy = (text: string, most: number): string => (text.length <= most ? text : copyOf(cut(text, most)))

const copyOf = (text: string): string => text.split("").join("")

/**
 * A text as a part of a message: in one line, without the control characters that a terminal would obey, and cut after
 * this number of characters. However long the text is, its end is not looked at.
 */
export const inOneLine = (text: string, most: number): string => {
  const line = text.slice(0, 4 * most).replaceAll(/[\s\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").trim()
  return line.length <= most && text.length > 4 * most ? cutCopy(`${line}...`, most) : cutCopy(line, most)
}

/** The most characters of a label in a message. */
const mostOfLabel = 200

/** A label as messages show it: callers choose their labels, and some put a whole request into one. */
export const labelText = (label: string): string => inOneLine(label, mostOfLabel)

/** The most members of a list in a message. */
const mostListed = 10

/** The members of a list as a part of a message. Of a long list, the first ones, and the number of the others. */
export const listText = <A>(all: ReadonlyArray<A>, textOf: (one: A) => string, separator: string): string => {
  const texts = all.slice(0, mostListed).map(textOf)
  if (all.length > mostListed) texts.push(`and ${all.length - mostListed} more`)
  return texts.join(separator)
}
