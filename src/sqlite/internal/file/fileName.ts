import { createHash } from "node:crypto"

/** The name of a file for any text: see `SqlitePool.fileName`. */
export const fileName = (key: string): string => {
  const name = encode(key)
  // Two encoded characters are never beside each other as `==`, so no other key has this name.
  return name.length <= maxLength ? name : `${name.slice(0, 32)}==${createHash("sha256").update(name).digest("hex")}`
}

/** With its extension, and the suffix of a partial backup, a name stays below 255 bytes. */
const maxLength = 160

const encode = (key: string): string => {
  if (key === "") return "="
  // By code units, not by bytes: halves of surrogate pairs would all become the same bytes.
  const name = key.replaceAll(/[^a-z0-9_-]/g, escape)
  return /^(?:-|(?:con|prn|aux|nul|com\d|lpt\d)$)/.test(name) ? escape(name[0]!) + name.slice(1) : name
}

const escape = (character: string): string =>
  Array.from({ length: character.length }, (_, index) => {
    const code = character.charCodeAt(index)
    return code < 256 ? `=${code.toString(16).padStart(2, "0")}` : `=u${code.toString(16).padStart(4, "0")}`
  }).join("")
