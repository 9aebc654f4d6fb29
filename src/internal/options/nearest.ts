/** Which of the known names somebody has meant. */

/** The known name that differs least, if any differs little: in letters, or only in how it is spelled. */
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
  // As `acquireTimeoutMillis`: the longest name that it begins with says what it is about.
  return known.filter((candidate) => candidate.length >= 4 && wanted.startsWith(plain(candidate)))
    .toSorted((a, b) => b.length - a.length)[0]
}

const plain = (name: string): string => name.slice(0, 64).toLowerCase().replaceAll(/[^a-z0-9]/g, "")

/** Letters that have to be put in, left out or replaced, and neighbours that have to change places. */
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
