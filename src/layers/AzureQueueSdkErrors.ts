/** What Microsoft's queue client throws, as what it means for whoever asked, and without a secret. */
import { Redacted } from "effect"
import { AzureQueueError, type Trouble } from "../services/AzureQueue.ts"
import type { Connection } from "../services/AzureQueueConnection.ts"
import { oneLine } from "../streams/OneLine.ts"
import { Answered } from "./AzureQueueSdkWire.ts"

/** What was asked for. */
export type Asking = "receive" | "renew" | "remove" | "send" | "create"

/** Source: https://learn.microsoft.com/rest/api/storageservices/queue-service-error-codes */
const troubles: Readonly<Record<string, Trouble>> = {
  QueueNotFound: "missing",
  QueueBeingDeleted: "missing",
  MessageNotFound: "lost",
  PopReceiptMismatch: "lost",
  OperationTimedOut: "away",
  ServerBusy: "away",
  InternalError: "away"
}

/** What is wrong with a message, and not with how it is sent. */
const unfit: ReadonlySet<string> = new Set([
  "MessageTooLarge",
  "RequestBodyTooLarge",
  "OutOfRangeInput",
  "InvalidInput",
  "InvalidXmlDocument",
  "InvalidXmlNodeValue",
  "UnsupportedXmlNode"
])

/** Units: characters of what one of the others says in a reason. */
const wordsMax = 200

/** `conceal` takes the secrets out of what others say. */
export const azureQueueError = (
  thrown: unknown,
  asking: Asking,
  conceal: (text: string) => string
): AzureQueueError => {
  if (!(thrown instanceof Answered)) {
    // What the vendor throws holds the request with all its headers: it is not kept.
    return new AzureQueueError({ trouble: troubleOf(thrown), reason: said(thrown, conceal) })
  }
  const { code, message, retryAfterMillis, status } = thrown
  const words = short(conceal(message))
  return new AzureQueueError({
    trouble: answered(thrown, asking),
    reason: code === undefined ? words : `${words.replace(/\.$/, "")} (${code})`,
    ...(retryAfterMillis === undefined || !isBusy(status) ? undefined : { retryAfterMillis })
  })
}

/** Unwanted by `create`, which has what it wants. */
export const isThere = ({ reason }: AzureQueueError): boolean => reason.endsWith("(QueueAlreadyExists)")

export const late = (millis: number): AzureQueueError =>
  new AzureQueueError({ trouble: "away", reason: `no answer within ${millis / 1000} s` })

/** Takes the credential out of a text, as it is and as it is spelled in a URL, and the query of every URL. */
export const concealed = ({ credential }: Connection): ((text: string) => string) => {
  const secrets: Array<string> = []
  if (credential._tag === "Key") secrets.push(Redacted.value(credential.key))
  if (credential._tag === "Sas") {
    const sas = Redacted.value(credential.sas)
    const signature = new URLSearchParams(sas).get("sig")
    secrets.push(sas, ...(signature === null ? [] : [signature]))
  }
  const spellings = secrets.flatMap((secret) => [secret, encodeURIComponent(secret)])
  return (text) =>
    spellings
      .reduce((shown, spelling) => shown.replaceAll(spelling, "<secret>"), text)
      .replaceAll(/(https?:\/\/[^\s?"'<>]*)\?[^\s"'<>]*/g, "$1")
      .replaceAll(/\b(sig=|Bearer |SharedKey )[^\s&"'<>]+/g, "$1<secret>")
}

const isBusy = (status: number): boolean => status === 429 || status === 408 || status >= 500

const answered = ({ code = "", status }: Answered, asking: Asking): Trouble => {
  if (asking === "send" && (unfit.has(code) || status === 413 || (status === 400 && code === ""))) return "unfit"
  return troubles[code] ?? (isBusy(status) ? "away" : "refused")
}

interface Thrown {
  readonly name?: string
  readonly message?: string
  readonly statusCode?: number
  readonly errorResponse?: { readonly error: string; readonly errorDescription: string }
  readonly errors?: ReadonlyArray<Thrown>
}

/** No answer of the queue: the network, or whoever gives out tokens. */
const troubleOf = (thrown: unknown): Trouble => {
  const { errors = [], name = "", statusCode } = (thrown ?? {}) as Thrown
  switch (name) {
    case "AuthenticationError":
      return statusCode === undefined || isBusy(statusCode) ? "away" : "refused"
    case "AggregateAuthenticationError":
      return errors.some((one) => troubleOf(one) === "away") ? "away" : "refused"
    case "CredentialUnavailableError":
    case "AuthenticationRequiredError":
    case "TypeError":
    case "RangeError":
      return "refused"
    default:
      return "away"
  }
}

const said = (thrown: unknown, conceal: (text: string) => string): string => {
  const { name = "" } = (thrown ?? {}) as Thrown
  const words = wordsOf((thrown ?? {}) as Thrown).map((one) => short(conceal(one)))
  const isToken = /^(?:Aggregate)?Authentication|^Credential/.test(name)
  return `${isToken ? "no token: " : ""}${words.join("; ")}`
}

/** Of several who could give a token, those who were asked and did not; if there is none, all. */
const wordsOf = ({ errorResponse, errors = [], message, name = "" }: Thrown): ReadonlyArray<string> => {
  if (name === "AggregateAuthenticationError" && errors.length > 0) {
    const asked = errors.filter((one) => one.name === "AuthenticationError")
    return (asked.length > 0 ? asked : errors).flatMap(wordsOf)
  }
  if (errorResponse !== undefined) return [`${errorResponse.error}: ${errorResponse.errorDescription?.trim()}`]
  return [message?.trim() || name || "no reason given"]
}

const short = (text: string): string => oneLine(text.split(/\r?\n/)[0]!.trim()).slice(0, wordsMax)
