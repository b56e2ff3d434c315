/** Finds Prefect's own words in the body of an answer that is an error. */
import { Result } from "effect"

/** Mistakes named in one reason. */
const mistakesMax = 5

/** Source: the two shapes of prefect.server.api.server, `detail` and `exception_message` with `exception_detail`. */
export const said = (body: string): string | undefined => {
  const { detail, exception_detail: mistakes, exception_message: message } = fields(Result.try(() => JSON.parse(body)))
  return text(detail) ?? list(detail) ?? list(mistakes) ?? text(message)
}

const fields = (parsed: Result.Result<unknown, unknown>): Readonly<Record<string, unknown>> =>
  Result.isSuccess(parsed) && typeof parsed.success === "object" && parsed.success !== null
    ? (parsed.success as Readonly<Record<string, unknown>>)
    : {}

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined)

/** Such as `parameters: Input should be a valid dictionary`. */
const list = (value: unknown): string | undefined => {
  if (!Array.isArray(value) || value.length === 0) return undefined
  const mistakes = value.slice(0, mistakesMax).map((mistake) => {
    const { loc, msg } = fields(Result.succeed(mistake))
    const where = (Array.isArray(loc) ? loc : []).filter((step, i) => i > 0 || step !== "body").join(".")
    const what = text(msg) ?? JSON.stringify(mistake)
    return where === "" ? what : `${where}: ${what}`
  })
  const more = value.length - mistakes.length
  return `${mistakes.join("; ")}${more > 0 ? `; and ${more} more` : ""}`
}
