/** The statuses of gRPC by name, and what each means for who called an EventRelay server. */
import type { Trouble } from "../services/EventRelay.ts"

/** Source: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
export const codes = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16
} as const

export type Status = keyof typeof codes

const byNumber = new Map<number, Status>(Object.entries(codes).map(([name, code]) => [code, name as Status]))

export const byCode = (code: number): Status => byNumber.get(code) ?? "UNKNOWN"

/** A call the server does not grant. */
export interface Refusal {
  readonly status: Status
  /** The server's words. */
  readonly words: string
}

const troubles: Readonly<Partial<Record<Status, Trouble>>> = {
  UNAVAILABLE: "away",
  DEADLINE_EXCEEDED: "away",
  RESOURCE_EXHAUSTED: "away",
  ABORTED: "away",
  CANCELLED: "away",
  UNAUTHENTICATED: "denied",
  PERMISSION_DENIED: "denied",
  UNIMPLEMENTED: "unsupported",
  INVALID_ARGUMENT: "unfit",
  NOT_FOUND: "unfit",
  ALREADY_EXISTS: "unfit",
  FAILED_PRECONDITION: "unfit",
  OUT_OF_RANGE: "unfit"
}

export const troubleOf = (status: Status): Trouble => troubles[status] ?? "failed"
