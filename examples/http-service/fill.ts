/** Another process that adds so many notes to the file, all at once. */
import { DatabaseSync } from "node:sqlite"

const [file, count = "1"] = process.argv.slice(2)
using database = new DatabaseSync(file!, { timeout: 10_000 })
database.prepare(
  `with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)
  insert into note(text) select 'note ' || i || ' of day ' || (i % 100) || ' about the weather in ' || (i % 7) from n`
).run(Number(count))
