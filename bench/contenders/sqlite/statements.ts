import { select } from "./database.ts"

/**
 * So many statements, one after the other and again from the first: the worst order for a cache that is too small. They
 * differ in nothing but a comment, so that all of them cost the same.
 */
export const statementsInTurn = (count: number): () => string => {
  const texts = Array.from({ length: count }, (_, index) => `${select} /* ${index} */`)
  let turn = 0
  return () => texts[turn++ % count]!
}
