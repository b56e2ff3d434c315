/** What gRPC's client and an EventRelay server answer instead, as what it means for whoever asked, and without a secret. */
import { Buffer } from "node:buffer"
import type { ServiceError } from "@grpc/grpc-js"
import { Redacted } from "effect"
import { EventRelayError, type Trouble } from "../services/EventRelay.ts"
import type { Connection } from "../services/EventRelayConnection.ts"
import { oneLine } from "../streams/OneLine.ts"
import { words } from "../streams/Runner.ts"
import * as EventRelayStatus from "./EventRelayStatus.ts"
import * as EventRelayTls from "./EventRelayTls.ts"

/** What was asked for. */
export type Asking = "pullQueued" | "unlock" | "pull" | "publish"

/** Units: characters of what others say in a reason. */
const wordsMax = 300

export interface Context {
  readonly connection: Connection
  readonly asking: Asking
  /** Takes the secrets out of what others say. */
  readonly conceal: (text: string) => string
  /** Units: milliseconds since 1970. */
  readonly now: number
}

export const eventRelayError = ({ code, details }: ServiceError, context: Context): EventRelayError => {
  const { asking, conceal, connection } = context
  const status = EventRelayStatus.byCode(code)
  const trouble = EventRelayStatus.troubleOf(status)
  const said = short(conceal(details))
  const lost = isLost(status, said)
  const error = (trouble: Trouble, reason: string) => new EventRelayError({ trouble, status, reason, lost })
  switch (status) {
    case "DEADLINE_EXCEEDED":
      return error("away", `no answer within ${connection.callMillis / 1000} s`)
    case "RESOURCE_EXHAUSTED":
      return tooLarge.test(said) ? error(asking === "publish" ? "unfit" : "failed", said) : error(trouble, said)
    case "UNAVAILABLE": {
      const last = lastError(said)
      const denial = EventRelayTls.denial(last, connection, context.now)
      return denial === undefined ? error("away", EventRelayTls.unconnected(last, connection)) : error("denied", denial)
    }
    default:
      return error(trouble, said === "" ? status : `${said} (${status})`)
  }
}

/** What is given as ca, cert and key makes no connection. */
export class Unusable {
  readonly thrown: unknown

  constructor(thrown: unknown) {
    this.thrown = thrown
  }
}

/** There is nothing a call could go over. */
export const unopened = (thrown: unknown, conceal: (text: string) => string): EventRelayError => {
  if (!(thrown instanceof Unusable)) return unsent(thrown, conceal)
  const said = short(conceal(EventRelayTls.plainWords(words(thrown.thrown))))
  const reason = `ca, cert and key make no connection: ${said}`
  return new EventRelayError({ trouble: "denied", status: "UNAVAILABLE", reason })
}

/** The call never left. */
export const unsent = (thrown: unknown, conceal: (text: string) => string): EventRelayError =>
  new EventRelayError({ trouble: "failed", status: "INTERNAL", reason: short(conceal(words(thrown))) })

/** Takes the token, and the key and secret it is made of, out of a text. */
export const concealed = ({ token }: Pick<Connection, "token">): ((text: string) => string) => {
  if (token === undefined) return (text) => text
  const known = Redacted.value(token)
  const [key = "", ...secret] = Buffer.from(known, "base64").toString().split(":")
  const secrets = [known, secret.join(":"), key].filter((one) => one !== "")
  return (text) => secrets.reduce((shown, one) => shown.replaceAll(one, "<secret>"), text)
}

const short = (text: string): string => {
  const line = oneLine(text.replaceAll(/\s+/g, " ").trim())
  return line.length > wordsMax ? `${line.slice(0, wordsMax)}...` : line
}

/** Whether the server may have done it: what never reached it, and what it answered itself, it has not. */
const isLost = (status: EventRelayStatus.Status, said: string): boolean => {
  switch (status) {
    case "UNAVAILABLE":
      return !neverSent.test(said)
    case "RESOURCE_EXHAUSTED":
      return tooLarge.test(said)
    case "INTERNAL":
      return /RST_STREAM|deserializ|pars(?:e|ing)|stream/i.test(said)
    default:
      return status === "DEADLINE_EXCEEDED" || status === "CANCELLED"
  }
}

const neverSent = /^(?:No connection established|Name resolution failed|Failed to connect)/

const tooLarge = /message.* larger than max|message with a size larger than/i

/** The vendor says what happened last inside of what it says. */
const lastError = (said: string): string => {
  const inner = /Last error: (?:Error(?: \[\w+\])?: )?(.*?)(?:\. Resolution note:.*)?$/.exec(said)?.[1]
  return inner === undefined || inner === "" ? said : inner
}
