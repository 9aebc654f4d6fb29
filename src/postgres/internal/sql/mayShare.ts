/** Which statements may share a connection with others, by their text. */
import { scan } from "./scanner.ts"
import { Dirt, type Text } from "./statementText.ts"

/**
 * Whether a statement may share a connection, by its text: it reads, leaves nothing in the session, does not ask about the session,
 * and calls only functions that are known to compute. Another function may change the session for all others, unseen.
 */
export const mayShare = (text: Text, functions: ReadonlySet<string>): boolean => {
  if (!text.isRead || text.control !== undefined || text.dirt !== Dirt.none || text.isLocal) return false
  const code = scan(text.sql).code.toLowerCase()
  if (!/^[\s;]*(?:select|values|table|with|\()/.test(code)) return false
  return code.match(ofServer)?.every((name) => functions.has(name)) !== false && callsOnly(code, functions)
}

/** What is about the server or the session. `pg_catalog` may stand before any name. */
const ofServer = /\bpg_(?!catalog\s*\.)\w+/g

const callsOnly = (code: string, functions: ReadonlySet<string>): boolean => {
  for (const [, before, name] of code.matchAll(call)) {
    // The columns of `t` in `as t (a, b)` and `with t (a, b)`.
    if (before !== undefined) continue
    const plain = name!.replace(/\s+/g, "").replace(/^pg_catalog\./, "")
    if (!computing.has(plain) && !functions.has(plain)) return false
  }
  return true
}

/** A name before an opening bracket, and the word before it if the name is that of a table. */
const call = /(?:\b(as|with|recursive)\s+)?([\w$"\u0080-\uffff]+(?:\s*\.\s*[\w$"\u0080-\uffff]+)*)\s*\(/g

/** What may stand before an opening bracket and is no function: keywords, and types with a size. */
const keywords = `
  all and any array as between bernoulli by case cast columns cross cube distinct else escape except exists extract filter first
  from full group grouping having ilike in inner intersect interval is join lateral left like limit materialized natural next
  not offset on only or ordinality outer over overlaps partition repeatable right rollup row rows select sets similar some
  system then to union using values when where with
  bit bpchar char character decimal float numeric time timestamp timestamptz timetz varbit varchar varying`

/** Functions of PostgreSQL that compute from their arguments, the time or chance, and change nothing. */
const functions = `
  array_agg avg bit_and bit_or bool_and bool_or corr count covar_pop covar_samp every json_agg json_object_agg jsonb_agg
  jsonb_object_agg max min mode percentile_cont percentile_disc range_agg regr_slope regr_intercept regr_r2 stddev stddev_pop
  stddev_samp string_agg sum var_pop var_samp variance
  cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
  coalesce greatest least nullif num_nonnulls num_nulls
  abs cbrt ceil ceiling degrees div exp factorial floor gcd lcm ln log log10 mod pi power radians random round scale sign
  sqrt trim_scale trunc width_bucket acos asin atan atan2 cos cot sin tan
  ascii bit_length btrim casefold char_length character_length chr concat concat_ws format initcap length lower lpad ltrim
  md5 normalize octet_length overlay position quote_ident quote_literal quote_nullable regexp_count regexp_instr regexp_like
  regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat replace reverse
  rpad rtrim split_part starts_with string_to_array string_to_table strpos substr substring to_ascii to_hex translate trim
  unistr upper
  decode encode sha224 sha256 sha384 sha512 crc32 crc32c get_bit get_byte set_bit set_byte
  age clock_timestamp date_add date_bin date_part date_subtract date_trunc isfinite justify_days justify_hours
  justify_interval make_date make_interval make_time make_timestamp make_timestamptz now statement_timestamp timeofday
  timezone to_char to_date to_number to_timestamp transaction_timestamp
  array_to_json json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each
  json_each_text json_extract_path json_extract_path_text json_object json_object_keys json_populate_record
  json_populate_recordset json_strip_nulls json_to_record json_to_recordset json_typeof jsonb_array_elements
  jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
  jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_match
  jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_populate_record jsonb_populate_recordset jsonb_pretty
  jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json to_json to_jsonb
  json_array json_arrayagg json_exists json_objectagg json_query json_table json_value
  array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position array_positions
  array_prepend array_remove array_replace array_to_string array_upper cardinality generate_series generate_subscripts
  trim_array unnest
  daterange int4range int8range isempty lower_inc lower_inf numrange range_merge tsrange tstzrange upper_inc upper_inf
  numnode phraseto_tsquery plainto_tsquery setweight to_tsquery to_tsvector ts_headline ts_rank ts_rank_cd websearch_to_tsquery
  gen_random_uuid uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7
  host hostmask masklen netmask network text area center diameter height width point box circle line lseg path polygon
  date`

const computing: ReadonlySet<string> = new Set(`${keywords} ${functions}`.trim().split(/\s+/))
