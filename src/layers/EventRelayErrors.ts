/** What gRPC's client and an EventRelay server answer instead, as what it means for whoever asked, and without a secret. */
import { Buffer } from "node:buffer"
import type { ServiceError } from "@grpc/grpc-js"
import { Redacted } from "effect"
import { EventRelayError, type Trouble } from "../services/EventRelay.ts"
import type { Connection } from "../services/EventRelayConnection.ts"
import { oneLine } from "../streams/OneLine.ts"
import { words } from "../streams/Runner.ts"
import * as EventRelayTls from "./EventRelayTls.ts"

/** What was asked for. */
export type Asking = "pullQueued" | "unlock" | "pull" | "publish"

/** By their numbers. Source: https://grpc.io/docs/guides/status-codes/ */
const statuses: ReadonlyArray<readonly [name: string, trouble: Trouble]> = [
  ["OK", "failed"],
  ["CANCELLED", "away"],
  ["UNKNOWN", "failed"],
  ["INVALID_ARGUMENT", "unfit"],
  ["DEADLINE_EXCEEDED", "away"],
  ["NOT_FOUND", "unfit"],
  ["ALREADY_EXISTS", "unfit"],
  ["PERMISSION_DENIED", "denied"],
  ["RESOURCE_EXHAUSTED", "away"],
  ["FAILED_PRECONDITION", "unfit"],
  ["ABORTED", "away"],
  ["OUT_OF_RANGE", "unfit"],
  ["UNIMPLEMENTED", "unsupported"],
  ["INTERNAL", "failed"],
  ["UNAVAILABLE", "away"],
  ["DATA_LOSS", "failed"],
  ["UNAUTHENTICATED", "denied"]
]

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
  const [status, trouble] = statuses[code] ?? ["UNKNOWN", "failed"]
  const error = (trouble: Trouble, reason: string) => new EventRelayError({ trouble, status, reason })
  const said = short(conceal(details))
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

const tooLarge = /message.* larger than max|message with a size larger than/i

/** The vendor says what happened last inside of what it says. */
const lastError = (said: string): string => {
  const inner = /Last error: (?:Error(?: \[\w+\])?: )?(.*?)(?:\. Resolution note:.*)?$/.exec(said)?.[1]
  return inner === undefined || inner === "" ? said : inner
}
