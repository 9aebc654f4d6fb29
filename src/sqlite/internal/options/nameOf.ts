/** The name of a database in messages. */
export const nameOf = ({ filename }: { readonly filename: string }): string => `the SQLite database "${filename}"`
