/** The formats that can be asserted: the usual ones, and by their grammars those the usual code reads otherwise. */
import { Ajv } from "ajv"
import formats from "ajv-formats"
import * as Hostname from "./JsonSchemaHostname.ts"

export const add = (ajv: Ajv): void => {
  formats.default(ajv as never)
  for (const [name, holds] of Object.entries(own)) ajv.addFormat(name, holds)
}

type Text = (text: string) => boolean

const matches =
  (expression: RegExp): Text =>
  (text) =>
    expression.test(text)

const usual = (formats.default(new Ajv({ logger: false }) as never) as Ajv).formats
const ipv4 = matches(usual.ipv4 as RegExp)
const ipv6 = matches(usual.ipv6 as RegExp)

/** https://www.rfc-editor.org/rfc/rfc3339#section-5.6 */
const time: Text = (text) => {
  const found = /^(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:z|([+-])(\d\d):(\d\d))$/i.exec(text)
  if (found === null) return false
  const [hour, minute, second, east, west] = [found[1], found[2], found[3], found[5] ?? "0", found[6] ?? "0"].map(
    Number
  )
  if (hour! > 23 || minute! > 59 || second! > 60 || east! > 23 || west! > 59) return false
  const offset = (east! * 60 + west!) * (found[4] === "-" ? -1 : 1)
  // A leap second is the last one of a day in UTC.
  return second! < 60 || (hour! * 60 + minute! - offset + 2_880) % 1_440 === 1_439
}

const isDate = (usual.date as { readonly validate: Text }).validate

/** https://www.rfc-editor.org/rfc/rfc3986#appendix-A and, with `wide`, https://www.rfc-editor.org/rfc/rfc3987#section-2.2 */
const reference = (wide: boolean, relative: boolean): Text => {
  const letters = wide ? `${ascii}${beyond}` : ascii
  const only = (extra: string) => matches(new RegExp(`^(?:[${letters}${extra}]|%[0-9a-fA-F]{2})*$`, "u"))
  const [name, user, path, fragment] = [only(""), only(":"), only(":@/"), only(":@/?")]
  const query = wide ? only(`:@/?${privately}`) : fragment
  const host: Text = (text) => {
    if (!text.startsWith("[")) return name(text)
    const inner = text.slice(1, -1)
    return ipv6(inner) || /^v[0-9a-f]+\.[\w\-.~!$&'()*+,;=:]+$/i.test(inner)
  }
  return (text) => {
    const parts = /^(?:([^:/?#]+):)?(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s.exec(text)
    if (parts === null) return false
    const [, scheme, authority, where, asked, place] = parts
    if (scheme === undefined ? !relative : !/^[a-z][a-z0-9+.-]*$/i.test(scheme)) return false
    // Without a scheme there is no colon in the first segment.
    if (scheme === undefined && authority === undefined && /^[^/]*:/.test(where!)) return false
    const found = /^(?:([^@]*)@)?(\[[^[\]]*\]|[^:@[\]]*)(?::\d*)?$/.exec(authority ?? "")
    return (
      found !== null &&
      user(found[1] ?? "") &&
      host(found[2]!) &&
      path(where!) &&
      query(asked ?? "") &&
      fragment(place ?? "")
    )
  }
}

const ascii = "A-Za-z0-9\\-._~!$&'()*+,;="
const planes = Array.from({ length: 14 }, (_, plane) => (plane + 1).toString(16))
const beyond = `\\u{a0}-\\u{d7ff}\\u{f900}-\\u{fdcf}\\u{fdf0}-\\u{ffef}${planes.map((plane) => `\\u{${plane}${plane === "e" ? "1" : "0"}000}-\\u{${plane}fffd}`).join("")}`
const privately = "\\u{e000}-\\u{f8ff}\\u{f0000}-\\u{ffffd}\\u{100000}-\\u{10fffd}"

/** https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2, and with `wide` also https://www.rfc-editor.org/rfc/rfc6531#section-3.3 */
const email = (wide: boolean): Text => {
  const more = wide ? "\\u{80}-\\u{10ffff}" : ""
  const atom = `[A-Za-z0-9!#$%&'*+/=?^_\`{|}~\\-${more}]+`
  const quoted = `"(?:[ !#-\\[\\]-~${more}]|\\\\[ -~])*"`
  const letter = `[A-Za-z0-9${more}]`
  const label = `${letter}(?:[A-Za-z0-9${more}\\-]*${letter})?`
  const local = matches(new RegExp(`^(?:${atom}(?:\\.${atom})*|${quoted})$`, "u"))
  const domain = matches(new RegExp(`^${label}(?:\\.${label})+$`, "u"))
  return (text) => {
    const at = text.lastIndexOf("@")
    const host = text.slice(at + 1)
    if (at === -1 || !local(text.slice(0, at))) return false
    if (!host.startsWith("[") || !host.endsWith("]")) return domain(host)
    const address = host.slice(1, -1)
    return /^ipv6:/i.test(address) ? ipv6(address.slice(5)) : ipv4(address)
  }
}

const variable = "(?:[A-Za-z0-9_]|%[0-9a-fA-F]{2})(?:\\.?(?:[A-Za-z0-9_]|%[0-9a-fA-F]{2}))*(?::[1-9]\\d{0,3}|\\*)?"
const clock = "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)"

const own: Readonly<Record<string, Text>> = {
  time,
  "date-time": (text) => isDate(text.slice(0, 10)) && /^[t\s]$/i.test(text.slice(10, 11)) && time(text.slice(11)),
  /** https://www.rfc-editor.org/rfc/rfc3339#appendix-A */
  duration: matches(
    new RegExp(`^P(?:\\d+W|(?:\\d+D|\\d+M(?:\\d+D)?|\\d+Y(?:\\d+M(?:\\d+D)?)?)(?:${clock})?|${clock})$`)
  ),
  email: email(false),
  "idn-email": email(true),
  uri: reference(false, false),
  "uri-reference": reference(false, true),
  iri: reference(true, false),
  "iri-reference": reference(true, true),
  hostname: Hostname.hostname,
  "idn-hostname": Hostname.international,
  regex: (text) => {
    try {
      return new RegExp(text, "u") instanceof RegExp
    } catch {
      return false
    }
  },
  /** https://www.rfc-editor.org/rfc/rfc6570#section-2 */
  "uri-template": matches(
    new RegExp(
      `^(?:[^\\x00-\\x20"<>%\\\\^\`{|}\\x7f-\\x9f]|%[0-9a-fA-F]{2}|\\{[+#./;?&=,!@|]?${variable}(?:,${variable})*\\})*$`,
      "u"
    )
  ),
  uuid: matches(/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i)
}

type Format = Ajv["formats"][string]

/** A format says something of one type only: of texts where it names none. */
const formatOf = (format: Format): ((value: unknown) => boolean) => {
  if (format === undefined || typeof format === "boolean" || typeof format === "string") return () => true
  if (format instanceof RegExp) return (value) => typeof value !== "string" || format.test(value)
  if (typeof format === "function") return (value) => typeof value !== "string" || format(value) === true
  const { type = "string", validate } = format as { readonly type?: string; readonly validate: Format }
  const holds =
    validate instanceof RegExp
      ? (value: unknown) => validate.test(value as string)
      : (validate as (value: unknown) => unknown)
  return (value) => typeof value !== type || typeof holds !== "function" || holds(value) === true
}

const all = new Ajv({ logger: false })
add(all)

/** By name; each says yes to what it says nothing of. */
export const known: ReadonlyMap<string, (value: unknown) => boolean> = new Map(
  Object.entries(all.formats).map(([name, format]) => [name, formatOf(format)])
)
