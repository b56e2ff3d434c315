/** The kinds of values a config has: each also reads the text that an environment variable brings. */
import { ByteSize, Duration as D, Effect, Option, Redacted, Schema, SchemaIssue, SchemaTransformation } from "effect"

/** Says in the error what was expected; the text of an environment variable is decoded as what the field wants. */
const from = <A, S extends Schema.Top & { readonly DecodingServices: never; readonly EncodingServices: never }>(
  encoded: S,
  type: Schema.Schema<A>,
  expected: string,
  decode: (value: S["Type"]) => A | undefined
) =>
  encoded
    .pipe(
      Schema.decodeTo(
        type as Schema.Codec<A>,
        SchemaTransformation.transformEffect<any, any>({
          decode: (value, options) => {
            const decoded = decode(value)
            return decoded === undefined
              ? Effect.fail(new SchemaIssue.InvalidValue({ expected }, value, options))
              : Effect.succeed(decoded)
          },
          encode: (value) => Effect.succeed(value)
        })
      )
    )
    .annotate({ expected })

const NumberOrText = Schema.Union([Schema.Finite, Schema.String])

const number = (value: number | string): number | undefined => {
  if (typeof value === "number") return value
  const read = value.trim() === "" ? Number.NaN : Number(value)
  return Number.isFinite(read) ? read : undefined
}

/** A whole number from `minimum` to `maximum`. */
export const int = (minimum: number, maximum: number = Number.MAX_SAFE_INTEGER) =>
  from(
    NumberOrText,
    Schema.Int,
    maximum === Number.MAX_SAFE_INTEGER
      ? `a whole number from ${minimum}`
      : `a whole number from ${minimum} to ${maximum}`,
    (value) => {
      const read = number(value)
      return read !== undefined && Number.isInteger(read) && read >= minimum && read <= maximum ? read : undefined
    }
  )

/** A number greater than zero. */
export const Positive = from(NumberOrText, Schema.Finite, "a number greater than 0", (value) => {
  const read = number(value)
  return read !== undefined && read > 0 ? read : undefined
})

export const Boolean = from(Schema.Union([Schema.Boolean, Schema.String]), Schema.Boolean, "true or false", (value) =>
  typeof value === "boolean" ? value : value === "true" ? true : value === "false" ? false : undefined
)

const shortUnits: Readonly<Record<string, string>> = { ms: "millis", s: "seconds", m: "minutes", h: "hours", d: "days" }

const duration = (value: string): D.Duration | undefined => {
  const short = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(value.trim())
  const text = short === null ? value.trim() : `${short[1]} ${shortUnits[short[2]!]}`
  const read = Option.getOrUndefined(D.fromInput(text as D.Input))
  return read !== undefined && D.isFinite(read) && !D.isNegative(read) ? read : undefined
}

/** A duration such as `10 seconds`, `200 millis` or `5m`. */
export const Duration = from(
  Schema.String,
  Schema.Duration,
  "a duration such as 10 seconds, 200 millis or 5m",
  duration
)

/** Units: milliseconds. A longer timer would fire at once. */
const timerMax = 2 ** 31 - 1

/** How long something is waited for: a duration that is not zero, and no longer than a timer runs. */
export const Wait = from(
  Schema.String,
  Schema.Duration,
  "a duration from 1 millis to 24 days, such as 10 seconds or 5m",
  (value) => {
    const read = duration(value)
    return read !== undefined && D.toMillis(read) >= 1 && D.toMillis(read) <= timerMax ? read : undefined
  }
)

/** A size such as `64 MiB`, as a number of bytes. */
export const Bytes = from(NumberOrText, Schema.Int, "a size such as 64 MiB or 1024", (value) => {
  const read = Option.getOrUndefined(
    ByteSize.fromInput((typeof value === "number" || /^\d+$/.test(value) ? BigInt(value) : value) as ByteSize.Input)
  )
  const bytes = read === undefined ? undefined : Number(read)
  return bytes !== undefined && bytes > 0 && bytes <= Number.MAX_SAFE_INTEGER ? bytes : undefined
})

export const Text = from(Schema.String, Schema.String, "text that is not empty", (value) =>
  value === "" ? undefined : value
)

/** What is wrong with a secret is told without it. */
export const secretExpected = "text, in quotes where it could be read as something else; what came is not shown"

/** Never logged, never printed. */
export const Secret = from(
  Schema.String.annotate({ expected: secretExpected }),
  Schema.Redacted(Schema.String),
  secretExpected,
  (value): Redacted.Redacted<string> | undefined => Redacted.make(value)
)

/** Header names and their values; numbers are taken as text. */
export const Headers = Schema.Record(
  Schema.String,
  from(Schema.Union([Schema.String, Schema.Finite]), Schema.String, "text", (value) => `${value}`)
)

/** An http or https URL. Credentials in it are sent as Basic authorization and never shown. */
export const Url = from(Schema.String, Schema.String, "a URL such as http://localhost:9000/path", (value) => {
  const url = URL.canParse(value) ? new URL(value) : undefined
  return url !== undefined && (url.protocol === "http:" || url.protocol === "https:") ? value : undefined
})

/** A field with a default. */
export const orElse = <S extends Schema.Constraint>(schema: S, value: S["Type"]) =>
  Schema.withDecodingDefaultTypeKey<S>(Effect.succeed(value))(schema)

/** A group of fields that all have defaults. */
export const group = <Fields extends Schema.Struct.Fields>(fields: Fields) =>
  Schema.withDecodingDefaultKey<Schema.Struct<Fields>>(Effect.succeed({} as never))(Schema.Struct(fields))
