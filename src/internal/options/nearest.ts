/** Finds the known name that a wrong name was probably meant to be. */

/** The known name that is most similar, if one is similar enough. Case and separators do not count. */
export const nearest = (name: string, known: ReadonlyArray<string>): string | undefined => {
  const wanted = plain(name)
  let best: string | undefined
  let least = Infinity
  for (const candidate of known) {
    const distance = distanceBetween(wanted, plain(candidate))
    if (distance < least) {
      least = distance
      best = candidate
    }
  }
  if (least <= Math.max(1, Math.floor(wanted.length / 4))) return best
  // A wrong name may be a known name with an ending, such as `acquireTimeoutMillis`. The longest such name counts.
  return known.filter((candidate) => candidate.length >= 4 && wanted.startsWith(plain(candidate)))
    .toSorted((a, b) => b.length - a.length)[0]
}

const plain = (name: string): string => name.slice(0, 64).toLowerCase().replaceAll(/[^a-z0-9]/g, "")

/** The number of changes between two texts: a letter added, left out or replaced, or two neighbours exchanged. */
const distanceBetween = (a: string, b: string): number => {
  let beforeLast: Array<number> = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1]
      let least = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (isSame ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, beforeLast[j - 2]! + 1)
      }
      row.push(least)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}
