/** Texts that the server takes. */

/** Whether the server takes a text as it is: one with half a surrogate pair would be changed. */
export const isText = (text: string): boolean => !text.includes("\0") && text.isWellFormed()
