/** What is wrong with the attributes of a CloudEvent 1.0, in a sentence that begins with the attribute's name. */

/** Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#context-attributes */
export const problem = (attributes: Readonly<Record<string, unknown>>): string | undefined => {
  if (attributes.specversion !== "1.0") return `specversion is ${shown(attributes.specversion)}, not "1.0"`
  for (const name of ["id", "source", "type"]) {
    if (attributes[name] === undefined || attributes[name] === null) return `${name} is missing`
  }
  for (const [name, value] of Object.entries(attributes)) {
    // One that is null is not set.
    if (value === null) continue
    const wrong = nameProblem(name) ?? valueProblem(name, value)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

/** Units: characters of a name; a larger one makes no header that others pass on. */
const nameMax = 64

const nameProblem = (name: string): string | undefined => {
  if (name === "data") return "data is not the name of an attribute"
  return name.length <= nameMax && /^[a-z0-9]+$/.test(name)
    ? undefined
    : `${shown(name)} is no name of an attribute: those have 1 to ${nameMax} of the letters a to z and digits`
}

const valueProblem = (name: string, value: unknown): string | undefined => {
  const rule = rules.get(name)
  if (rule === undefined && (typeof value === "boolean" || isInteger(value))) return undefined
  if (typeof value !== "string") {
    return `${name} is ${rule === undefined ? "no text, 32-bit whole number or boolean" : "no text"}`
  }
  if (forbidden.test(value)) return `${name} has a character that no attribute may have, such as a line break`
  return rule === undefined || rule.isGood(value) ? undefined : `${name} is ${shown(value)}, not ${rule.expected}`
}

const isInteger = (value: unknown): boolean => typeof value === "number" && (value | 0) === value

/** Control characters, half a character, and what Unicode keeps for nobody. */
const forbidden = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u

interface Rule {
  readonly isGood: (text: string) => boolean
  readonly expected: string
}

const isUri = (text: string): boolean => /^[a-z][a-z0-9+.-]*:/i.test(text) && isUriReference(text)

/** Only what it is made of: what the parts mean is for whoever follows it. Source: RFC 3986, appendix A. */
const isUriReference = (text: string): boolean => /^(?:[\w.~:/?#[\]@!$&'()*+,;=-]|%[0-9a-f]{2})+$/i.test(text)

/** Source: RFC 2045, 5.1. Between two separators only one part takes spaces, so that no text is read in many ways. */
const isMediaType = (text: string): boolean =>
  /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+[ \t]*(?:;[ \t]*(?:[\w!#$%&'*+.^`|~-]+=(?:[\w!#$%&'*+.^`|~-]+|"(?:[^"\\]|\\.)*")[ \t]*)?)*$/.test(
    text
  )

/** Source: RFC 3339, 5.6. */
const isTime = (text: string): boolean => {
  const parts = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|[+-](\d\d):(\d\d))$/i.exec(text)
  if (parts === null) return false
  const [year, month, day, hour, minute, second, offsetHour, offsetMinute] = parts
    .slice(1)
    .map((part = "0") => Number(part)) as [number, number, number, number, number, number, number, number]
  const days = month === 2 ? (isLeap(year) ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31
  // A second 60 is a leap second.
  const isClock = hour < 24 && minute < 60 && second <= 60 && offsetHour < 24 && offsetMinute < 60
  return isClock && month >= 1 && month <= 12 && day >= 1 && day <= days
}

const isLeap = (year: number): boolean => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0

const notEmpty: Rule = { isGood: (text) => text !== "", expected: "text that is not empty" }

const rules: ReadonlyMap<string, Rule> = new Map([
  ["specversion", notEmpty],
  ["id", notEmpty],
  ["source", { isGood: isUriReference, expected: "a URI reference (RFC 3986)" }],
  ["type", notEmpty],
  ["datacontenttype", { isGood: isMediaType, expected: "a media type such as application/json" }],
  ["dataschema", { isGood: isUri, expected: "a URI (RFC 3986)" }],
  ["subject", notEmpty],
  ["time", { isGood: isTime, expected: "a time such as 2026-01-31T12:00:00Z (RFC 3339)" }],
  // Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/partitioning.md
  ["partitionkey", notEmpty]
])

/** Units: characters of what came. */
const shownMax = 100

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? "missing"
  return text.length > shownMax ? `${text.slice(0, shownMax)}...` : text
}
