/** The text of a statement as lists, events and messages show it. */

/** The number of characters that are kept. */
const mostCharacters = 1000

/** Longer texts are cut before they are folded, so that even a text of megabytes costs little. */
const mostFolded = 100_000

/**
 * The text of a statement in one line, at most 1000 characters long. Lists of placeholders are folded: `(?, ?, ?)` is
 * `(?, ...)`, so that statements that differ only in the length of a list have one text. Its memory is its own: a slice of
 * a long text would keep all of that text alive.
 */
export const shortTextOf = (text: string): string => {
  const folded = text.slice(0, mostFolded).trim().replaceAll(/\s+/g, " ").replaceAll(placeholders, "$1, ...")
    .replaceAll(
      rows,
      "$1, ..."
    )
  return copyOf(cut(folded, mostCharacters))
}

const placeholders = /([?]|\$\d+|@p\d+)(?: ?, ?(?:[?]|\$\d+|@p\d+))+/g

const rows = /(\((?:[?]|\$\d+|@p\d+)(?:, \.\.\.)?\))(?: ?, ?\((?:[?]|\$\d+|@p\d+)(?:, \.\.\.)?\))+/g

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
