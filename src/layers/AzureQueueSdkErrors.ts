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
      .reduce(
        (shown, spelling) => shown.replaceAll(spelling, "<secret>"),
        text.replaceAll(/(https?:\/\/[^\s?"'<>]*)\?[^\s"'<>]*/g, "$1")
      )
      .replaceAll(/\b(sig=|Bearer |SharedKey )[^\s&"'<>]+/g, "$1<secret>")
}

const isBusy = (status: number = 0): boolean => status === 429 || status === 408 || status >= 500

const answered = ({ code = "", status }: Answered, asking: Asking): Trouble => {
  if (asking === "send" && (unfit.has(code) || status === 413 || (status === 400 && code === ""))) return "unfit"
  return troubles[code] ?? (isBusy(status) ? "away" : "refused")
}

interface Thrown {
  readonly name?: string
  readonly message?: string
  readonly statusCode?: number
  readonly errorResponse?: { readonly error: string; readonly errorDescription?: string }
  readonly errors?: ReadonlyArray<Thrown>
  readonly cause?: { readonly status?: number }
}

/** Whoever gives out tokens cannot be reached, in the words of the vendor and of Node. */
const unreached =
  /network_error|network unreachable|endpoints_resolution_error|openid_config_error|ECONN|ETIMEDOUT|ENOTFOUND|EAI_AGAIN/i

/** No answer of the queue: the network, or whoever gives out tokens. */
const troubleOf = (thrown: unknown): Trouble => {
  const error = (thrown ?? {}) as Thrown
  switch (error.name) {
    case "AggregateAuthenticationError":
      return error.errors?.some((one) => troubleOf(one) === "away") ? "away" : "refused"
    case "AuthenticationError":
    case "AuthenticationRequiredError":
    case "CredentialUnavailableError":
      return isBusy(error.statusCode) || isBusy(error.cause?.status) || unreached.test(error.message ?? "")
        ? "away"
        : "refused"
    case "TypeError":
    case "RangeError":
      return "refused"
    default:
      return "away"
  }
}

const said = (thrown: unknown, conceal: (text: string) => string): string => {
  const error = (thrown ?? {}) as Thrown
  const isToken = /^(?:Aggregate)?Authentication|^Credential/.test(error.name ?? "")
  const words = isToken ? tokenWords(error) : [error.message ?? `${thrown}`]
  return `${isToken ? "no token: " : ""}${words.map((one) => short(conceal(one))).join("; ")}`
}

/** The first sentence of each that was asked for a token: advice and links follow. */
const tokenWords = ({ errorResponse, errors = [], message = "" }: Thrown): ReadonlyArray<string> => {
  if (errors.length > 0) return errors.flatMap(tokenWords)
  const words = message === "" ? "no reason given" : message
  const first = /^.*?\.(?=\s|$)/.exec(words.split("\n")[0]!)?.[0] ?? words
  // What the token service itself has to say comes after the vendor's words.
  const service = errorResponse?.errorDescription ?? / Message:? (.*)$/s.exec(words)?.[1]
  return [first.replace(/\.$/, ""), ...(service === undefined ? [] : [service])]
}

const short = (text: string): string => oneLine(text.trim().split(/\r?\n/)[0]!).slice(0, wordsMax)
