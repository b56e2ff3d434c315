/** What kafkajs throws, as what it means for whoever asked. */
import { Effect } from "effect"
import { KafkaError, type Trouble } from "../services/Kafka.ts"
import { words } from "../streams/Runner.ts"

const troubles: Readonly<Record<string, Trouble>> = {
  REBALANCE_IN_PROGRESS: "rebalance",
  UNKNOWN_MEMBER_ID: "evicted",
  ILLEGAL_GENERATION: "evicted",
  FENCED_INSTANCE_ID: "evicted",
  INVALID_PRODUCER_EPOCH: "fenced",
  TRANSACTION_COORDINATOR_FENCED: "fenced",
  INVALID_PRODUCER_ID_MAPPING: "fenced",
  MESSAGE_TOO_LARGE: "unfit",
  RECORD_LIST_TOO_LARGE: "unfit",
  INVALID_RECORD: "unfit",
  INVALID_TIMESTAMP: "unfit",
  INVALID_TOPIC_EXCEPTION: "refused",
  INVALID_REQUIRED_ACKS: "refused",
  INVALID_GROUP_ID: "refused",
  INVALID_SESSION_TIMEOUT: "refused",
  INCONSISTENT_GROUP_PROTOCOL: "refused",
  OFFSET_METADATA_TOO_LARGE: "refused",
  TOPIC_AUTHORIZATION_FAILED: "refused",
  GROUP_AUTHORIZATION_FAILED: "refused",
  CLUSTER_AUTHORIZATION_FAILED: "refused",
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "refused",
  SASL_AUTHENTICATION_FAILED: "refused",
  UNSUPPORTED_SASL_MECHANISM: "refused",
  UNSUPPORTED_VERSION: "refused",
  UNSUPPORTED_COMPRESSION_TYPE: "refused",
  INVALID_TRANSACTION_TIMEOUT: "refused"
}

/** What is wrong with a topic. */
const topics: Readonly<Record<string, NonNullable<KafkaError["topic"]>>> = {
  UNKNOWN_TOPIC_OR_PARTITION: "unknown",
  INVALID_TOPIC_EXCEPTION: "refused",
  TOPIC_AUTHORIZATION_FAILED: "refused"
}

const refusedNames: ReadonlySet<string> = new Set([
  "KafkaJSSASLAuthenticationError",
  "KafkaJSNotImplemented",
  "KafkaJSServerDoesNotSupportApiKey",
  "TypeError",
  "RangeError",
  "ReferenceError"
])

/** PRODUCER_FENCED, which kafkajs does not know. Source: https://kafka.apache.org/protocol#protocol_error_codes */
const producerFenced = 90

/** The code of an error with TLS options that make no connection. */
export const unusable = "SLUICE_TLS_UNUSABLE"

/** OpenSSL's own words are the last of the name, code, library and function it puts around them. */
const openSsl = /(?:\b[0-9A-F]+:)?error:[0-9A-F]+:[^:]*:[^:]*:([^:]+)(?::\S*)*(?::SSL alert number \d+)?\s*$/

interface VendorError extends Error {
  readonly type?: string
  readonly code?: number | string
}

/** The vendor wraps errors of tries into one another: the innermost says what happened. */
export const vendorError = (thrown: unknown): VendorError => {
  let error = thrown as VendorError
  for (let depth = 0; depth < 8 && error?.cause instanceof Error; depth++) error = error.cause as VendorError
  return error
}

export const kafkaError = (thrown: unknown): KafkaError => {
  if (thrown instanceof KafkaError) return thrown
  const error = vendorError(thrown)
  if (error instanceof KafkaError) return error
  const trouble: Trouble =
    error.code === producerFenced
      ? "fenced"
      : error.code === unusable
        ? "refused"
        : (troubles[error.type ?? ""] ?? (refusedNames.has(error.name) ? "refused" : "away"))
  const said = error.type === undefined || error.type === "UNKNOWN" ? "" : ` (${error.type})`
  const topic = topics[error.type ?? ""]
  return new KafkaError({
    trouble,
    reason: `${words(error).replace(openSsl, "$1")}${said}`,
    ...(topic === undefined ? undefined : { topic }),
    cause: error
  })
}

export const isUnknownTopic = (thrown: unknown): boolean => vendorError(thrown)?.type === "UNKNOWN_TOPIC_OR_PARTITION"

/** One call of the vendor. */
export const tried = <A>(call: () => Promise<A>): Effect.Effect<A, KafkaError> =>
  Effect.tryPromise({ try: call, catch: kafkaError })
