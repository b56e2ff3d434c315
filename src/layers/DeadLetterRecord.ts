/** A dead letter as a Kafka record: key and value are the buried message's own, all else stands in headers. */
import { isUtf8 } from "node:buffer"
import { DateTime, Option } from "effect"
import type { Letter } from "../services/DeadLetters.ts"
import type { Stage } from "../services/Delivery.ts"
import type { Envelope } from "../services/Envelope.ts"
import type { HeaderValue, KafkaMessage, KafkaRecord } from "../services/Kafka.ts"
import * as DeadLetterReply from "./DeadLetterReply.ts"

type Headers = KafkaRecord["headers"]

/** The headers of ours. Times are ISO 8601, but for the record's own, which may be any number. */
const names = {
  letter: "sluice-letter",
  done: "sluice-letter-done",
  pipeline: "sluice-pipeline",
  event: "sluice-event",
  leg: "sluice-leg",
  stage: "sluice-stage",
  reason: "sluice-reason",
  attempts: "sluice-attempts",
  at: "sluice-at",
  sequence: "sluice-sequence",
  source: "sluice-source",
  envelope: "sluice-envelope-id",
  envelopeAttempt: "sluice-envelope-attempt",
  receivedAt: "sluice-received-at",
  /** The text of a key that is not UTF-8. */
  key: "sluice-key",
  topic: "sluice-origin-topic",
  partition: "sluice-origin-partition",
  offset: "sluice-origin-offset",
  timestamp: "sluice-origin-timestamp",
  broken: "sluice-broken",
  reply: "sluice-reply"
} as const

/** A message's own header that begins like one of ours is written behind this. */
const ours = "sluice-"
const kept = "sluice-header-"

type Message = Pick<KafkaMessage, "key" | "value" | "headers">

export const ofLetter = (letter: Letter): Message => {
  const { envelope, reply } = letter
  const origin = placeOf(envelope.partition)
  const own: Record<keyof typeof names, string | number | undefined> = {
    letter: letter.id,
    done: undefined,
    pipeline: letter.pipeline,
    event: letter.event,
    leg: letter.leg,
    stage: letter.stage,
    reason: letter.reason,
    attempts: letter.attempts,
    at: iso(letter.at),
    sequence: letter.sequence,
    source: envelope.source,
    envelope: envelope.id,
    envelopeAttempt: envelope.attempt,
    receivedAt: iso(envelope.receivedAt),
    key: envelope.keyBytes && envelope.key,
    topic: origin.topic,
    partition: origin.partition,
    offset: envelope.position,
    timestamp: envelope.producedAt,
    broken: envelope.broken,
    reply: reply && DeadLetterReply.toText(reply)
  }
  const headers: Array<readonly [string, string]> = Object.entries(envelope.headers).map(([name, value]) => [
    name.startsWith(ours) ? kept + name : name,
    value
  ])
  for (const [field, value] of Object.entries(own)) {
    if (value !== undefined) headers.push([names[field as keyof typeof names], `${value}`])
  }
  return {
    key: envelope.keyBytes ?? envelope.key ?? null,
    value: envelope.tombstone === true ? null : envelope.payload,
    headers: Object.fromEntries(headers)
  }
}

/** Says that a letter is replayed or purged. The key is that of the letter. */
export const ofDone = (id: string, pipeline: string, key: Uint8Array | null): Message => ({
  key,
  value: null,
  headers: { [names.done]: id, [names.pipeline]: pipeline }
})

/** Which letter a record is, or ends; undefined for what is no record of ours. */
export const read = ({
  headers
}: KafkaRecord): { readonly id: string; readonly pipeline: string; readonly done: boolean } | undefined => {
  const done = text(headers[names.done])
  const id = done ?? text(headers[names.letter])
  return id === undefined ? undefined : { id, pipeline: text(headers[names.pipeline]) ?? "", done: done !== undefined }
}

/** The letter in a record of which `read` says that it is one. Nothing of the record's memory is held by it. */
export const toLetter = ({ headers, key, value }: KafkaRecord): Letter => {
  const own = (field: keyof typeof names): string | undefined => text(headers[names[field]])
  const number = (field: keyof typeof names): number => Number(own(field)) || 0
  const reply = own("reply")
  return {
    id: own("letter") ?? "",
    pipeline: own("pipeline") ?? "",
    event: own("event"),
    leg: own("leg"),
    stage: (own("stage") ?? "dispatch") as Stage,
    reason: own("reason") ?? "",
    attempts: number("attempts"),
    at: millis(own("at")),
    sequence: number("sequence"),
    envelope: {
      id: own("envelope") ?? "",
      source: own("source") ?? "",
      ...keyOf(key, own("key")),
      headers: headersOf(headers),
      payload: value === null ? new Uint8Array() : new Uint8Array(value),
      receivedAt: millis(own("receivedAt")),
      attempt: number("envelopeAttempt"),
      ...optional("partition", partitionOf(own("topic"), own("partition"))),
      ...optional("broken", own("broken")),
      ...optional("position", own("offset") === undefined ? undefined : number("offset")),
      ...optional("producedAt", own("timestamp") === undefined ? undefined : number("timestamp")),
      ...optional("tombstone", value === null ? true : undefined)
    },
    reply: reply === undefined ? undefined : DeadLetterReply.fromText(reply)
  }
}

/** What holding the letter of a record takes. Units: bytes. */
export const bytesOf = ({ headers, value }: KafkaRecord): number => {
  let bytes = value?.length ?? 0
  for (const header of Object.values(headers)) {
    for (const one of header === undefined ? [] : [header].flat()) bytes += one.length
  }
  return bytes
}

// ---------------------------------------------------------------------------------------------------- parts

/** A partition of Kafka is written `topic/3`; of other sources it is any text. */
const placeOf = (partition: string | undefined) => {
  const read = /^(.*)\/(\d+)$/s.exec(partition ?? "")
  return read === null ? { topic: undefined, partition } : { topic: read[1], partition: read[2] }
}

const partitionOf = (topic: string | undefined, partition: string | undefined): string | undefined =>
  topic === undefined ? partition : `${topic}/${partition}`

const keyOf = (bytes: Uint8Array | null, written: string | undefined): Pick<Envelope, "key" | "keyBytes"> => {
  if (bytes === null) return { key: undefined }
  if (written === undefined && isUtf8(bytes)) return { key: utf8.decode(bytes) }
  return { key: written ?? DeadLetterReply.toBase64(bytes), keyBytes: new Uint8Array(bytes) }
}

const headersOf = (headers: Headers): Readonly<Record<string, string>> => {
  const own = Object.entries(headers).flatMap(([name, value]): ReadonlyArray<readonly [string, string]> => {
    const read = text(value)
    if (read === undefined || (name.startsWith(ours) && !name.startsWith(kept))) return []
    return [[name.startsWith(kept) ? name.slice(kept.length) : name, read]]
  })
  return Object.fromEntries(own)
}

/** A byte order mark belongs to the text. */
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true })

const text = (value: Headers[string]): string | undefined => {
  const one = Array.isArray(value) ? (value as ReadonlyArray<HeaderValue>).at(-1) : (value as HeaderValue | undefined)
  return one === undefined || typeof one === "string" ? one : utf8.decode(one)
}

const iso = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

const millis = (text: string | undefined): number =>
  Option.match(DateTime.make(text ?? ""), { onNone: () => 0, onSome: DateTime.toEpochMillis })

const optional = <K extends string, A>(name: K, value: A | undefined): { readonly [P in K]?: A } =>
  (value === undefined ? {} : { [name]: value }) as { readonly [P in K]?: A }
