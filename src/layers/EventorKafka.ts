/** Reads the properties of an eventor's consumer or producer as the options of our Kafka source or publisher. */
import type { Problem } from "../services/Component.ts"
import {
  aliases,
  fixed,
  type Kind,
  known,
  mapped,
  oneOf,
  type Role,
  roleOf,
  said,
  same,
  security,
  type Target,
  truth,
  unsupported
} from "./EventorProperties.ts"

export type Place = ReadonlyArray<string | number>

export interface Property {
  readonly name: string
  readonly value: string
  readonly path: Place
}

/** Something that works, but not as its words say. */
export interface Remark {
  readonly path: Place
  readonly message: string
}

export interface Read {
  /** Ours, such as `{ brokers: ["localhost:9092"], session: { timeout: "45000 millis" } }`. */
  readonly options: Readonly<Record<string, unknown>>
  /** Which property an option came from. */
  readonly places: ReadonlyArray<{ readonly option: Place; readonly path: Place }>
  readonly problems: ReadonlyArray<Problem>
  readonly remarks: ReadonlyArray<Remark>
}

/**
 * Translates the properties of a consumer or a producer.
 *
 * What has no equivalent and changes the meaning is a problem, what only tunes librdkafka is a remark.
 */
export const read = (role: Role, properties: ReadonlyArray<Property>, at: Place): Read => {
  const reading = new Reading(role, at)
  for (const property of properties) reading.take(property)
  reading.connection()
  if (role === "consumer" && !reading.has("auto.offset.reset")) reading.set("from", "latest")
  if (role === "producer") reading.idempotence()
  return reading
}

// ---------------------------------------------------------------------------------------------------- reading

class Reading implements Read {
  readonly options: Record<string, unknown> = {}
  readonly places: Array<{ readonly option: Place; readonly path: Place }> = []
  readonly problems: Array<Problem> = []
  readonly remarks: Array<Remark> = []
  private readonly given = new Map<string, Property>()
  private readonly role: Role
  private readonly at: Place

  constructor(role: Role, at: Place) {
    this.role = role
    this.at = at
  }

  has(name: string): boolean {
    return this.given.has(name)
  }

  take(property: Property): void {
    const name = aliases.get(property.name) ?? property.name
    if (!known.includes(name)) {
      this.problem(property, { expected: "a property of librdkafka", found: property.name, words: known })
      return
    }
    const role = roleOf(name)
    if (role !== undefined && role !== this.role) {
      this.remark(property, `is for a ${role}, and has no effect in ${this.role}Config`)
    } else if (property.value !== "") this.judge(name, property)
  }

  private judge(name: string, property: Property): void {
    const target = mapped.get(name)
    const since = unsupported.get(name)?.[0]
    const kind = fixed.get(name)?.[0]
    const message = said.get(name)
    const other = this.given.get(name)
    if (other !== undefined) this.remark(property, `says the same as ${other.name}, which counts`)
    else this.given.set(name, property)
    if (other !== undefined || security.has(name)) return
    if (target !== undefined) this.map(target, property)
    else if (since !== undefined) {
      this.problem(property, { expected: `no such property, since ${since}`, found: property.name })
    } else if (kind !== undefined) this.valueOf(property, kind)
    else if (message === undefined) this.remark(property, "only tunes librdkafka, and has no effect here")
    else if (name !== "enable.auto.commit" || truth.read(property.value) !== false) this.remark(property, message)
  }

  private map([option, kind]: Target, property: Property): void {
    const value = this.valueOf(property, kind)
    if (value === undefined) return
    const twice = this.places.find(({ option: taken }) => taken.join(".") === option)
    if (twice !== undefined) this.remark(property, `says the same as ${twice.path.at(-1)}, which counts`)
    else this.set(option, value, property)
  }

  /** Sets an option by its dotted name. */
  set(option: string, value: unknown, property?: Property): void {
    const [first, second] = option.split(".") as [string, string?]
    if (second === undefined) this.options[first] = value
    else this.options[first] = { ...(this.options[first] as object | undefined), [second]: value }
    if (property !== undefined) this.places.push({ option: option.split("."), path: property.path })
  }

  private valueOf(property: Property, { expected, read, words }: Kind): unknown {
    const value = read(property.value)
    if (value === undefined) this.problem(property, { expected, found: property.value, words })
    return value
  }

  private problem({ path }: Property, problem: Omit<Problem, "path">): void {
    this.problems.push({ path, ...problem })
  }

  private remark({ path }: Property, message: string): void {
    this.remarks.push({ path, message })
  }

  // -------------------------------------------------------------------------------------------------- connection

  /** TLS and SASL, as `security.protocol` asks for them. */
  connection(): void {
    const protocol = this.has("security.protocol") ? this.read("security.protocol", protocols) : "plaintext"
    if (protocol === undefined) return
    const used = ["security.protocol"]
    if (String(protocol).endsWith("ssl")) used.push(...this.tls())
    if (String(protocol).startsWith("sasl")) used.push(...this.sasl())
    for (const [name, property] of this.given) {
      if (!security.has(name) || used.includes(name)) continue
      const with_ =
        name.startsWith("sasl.") && String(protocol).startsWith("sasl") ? "sasl.mechanism" : "security.protocol"
      this.remark(property, `has no effect with this ${with_}`)
    }
  }

  private tls(): ReadonlyArray<string> {
    for (const [name, option] of pems) {
      const property = this.given.get(name)
      if (property === undefined || property.value === "probe") continue
      this.set(option, property.value, property)
      if (name.endsWith(".location") && !property.value.startsWith("/")) {
        this.remark(property, "is a relative path: it starts at the config's folder")
      }
    }
    if (this.has(verification)) this.set("tls.verify", this.read(verification, truth), this.given.get(verification))
    const checked = this.has(identification) ? this.read(identification, algorithms) : false
    this.set("tls.verifyHost", checked, this.given.get(identification))
    if (!this.has(identification)) {
      const message = `the broker's certificate may be of any name, as with eventor: ${identification}: https checks it`
      this.remark(this.given.get("security.protocol")!, message)
    }
    return [...pems.keys(), verification, identification]
  }

  private sasl(): ReadonlyArray<string> {
    const mechanism = this.read("sasl.mechanism", mechanisms)
    if (mechanism === undefined) return [...security].filter((name) => name.startsWith("sasl."))
    this.set("sasl.mechanism", mechanism, this.given.get("sasl.mechanism"))
    const used = mechanism === "oauthbearer" ? tokens : passwords
    if (mechanism === "oauthbearer") this.read("sasl.oauthbearer.method", same("oidc"))
    for (const [name, option] of used) {
      const property = this.given.get(name)
      if (property !== undefined) this.set(option, property.value, property)
      else if (option !== "sasl.scope") {
        const expected = `text, since sasl.mechanism is ${this.given.get("sasl.mechanism")!.value}`
        this.problems.push({ path: [...this.at, name], expected, found: undefined })
      }
    }
    return ["sasl.mechanism", ...used.keys(), ...(mechanism === "oauthbearer" ? ["sasl.oauthbearer.method"] : [])]
  }

  /** A value that must be there. */
  private read(name: string, kind: Kind): unknown {
    const property = this.given.get(name)
    if (property !== undefined) return this.valueOf(property, kind)
    this.problems.push({ path: [...this.at, name], expected: kind.expected, found: undefined })
    return undefined
  }

  /** Source: `enable.idempotence` needs `acks=all`. */
  idempotence(): void {
    const acks = this.given.get("acks")
    if (this.options.idempotent !== true || acks === undefined || this.options.acks === "all") return
    this.problem(acks, { expected: "all, since enable.idempotence is true", found: acks.value })
  }
}

const protocols = same("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
const algorithms = oneOf({ https: true, none: false })
const verification = "enable.ssl.certificate.verification"
const identification = "ssl.endpoint.identification.algorithm"

const mechanisms: Kind = {
  ...same("plain", "scram-sha-256", "scram-sha-512", "oauthbearer"),
  expected: "one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER (GSSAPI, librdkafka's default, is not supported)"
}

/** PEM text, or the path of a file that holds it. */
const pems = new Map([
  ["ssl.ca.location", "tls.ca"],
  ["ssl.ca.pem", "tls.ca"],
  ["ssl.certificate.location", "tls.cert"],
  ["ssl.certificate.pem", "tls.cert"],
  ["ssl.key.location", "tls.key"],
  ["ssl.key.pem", "tls.key"],
  ["ssl.key.password", "tls.passphrase"],
  ["ssl.keystore.location", "tls.pfx"],
  ["ssl.keystore.password", "tls.passphrase"]
])

const passwords = new Map([
  ["sasl.username", "sasl.username"],
  ["sasl.password", "sasl.password"]
])

const tokens = new Map([
  ["sasl.oauthbearer.token.endpoint.url", "sasl.tokenUrl"],
  ["sasl.oauthbearer.client.id", "sasl.clientId"],
  ["sasl.oauthbearer.client.secret", "sasl.clientSecret"],
  ["sasl.oauthbearer.scope", "sasl.scope"]
])
