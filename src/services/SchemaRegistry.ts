/** Keeps the schemas of events: which client registered what for which event, version by version. */
import { Context, type Effect, type Option, Schema } from "effect"

/** The registry cannot be read or written just now (`retryable`), or at all. */
export class SchemaRegistryError extends Schema.TaggedError<SchemaRegistryError>()("SchemaRegistryError", {
  reason: Schema.String,
  retryable: Schema.Boolean,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** Somebody else has added a version since this one was checked against the last. */
export class SchemaConflict extends Schema.TaggedError<SchemaConflict>()("SchemaConflict", {
  /** The latest version there is now. */
  latest: Schema.Int
}) {}

/** Another event is registered whose `<client>.<event>` is the same up to . and _. */
export class NameTaken extends Schema.TaggedError<NameTaken>()("NameTaken", {}) {}

export const SchemaType = Schema.Literals(["json", "avro", "protobuf"])
export type SchemaType = typeof SchemaType.Type

/**
 * What a new version must be to the one before it. backward: what is written by the old one can be read by the new one ·
 * forward: what is written by the new one can be read by the old one · full: both.
 */
export const Compatibility = Schema.Literals(["none", "backward", "forward", "full"])
export type Compatibility = typeof Compatibility.Type

export interface Subject {
  readonly client: string
  readonly event: string
}

export interface SchemaVersion extends Subject {
  /** From 1, without gaps. */
  readonly version: number
  readonly type: SchemaType
  /** As it was registered: JSON text for json and avro, a .proto file's text for protobuf. */
  readonly schema: string
  /** What the next version must be to this one. */
  readonly compatibility: Compatibility
  readonly deprecated: boolean
  /** Units: milliseconds since 1970. */
  readonly registeredAt: number
}

export type NewVersion = Pick<SchemaVersion, "client" | "event" | "type" | "schema" | "compatibility">

export class SchemaRegistry extends Context.Service<
  SchemaRegistry,
  {
    /**
     * Stores the version after `latest`, which is 0 for the first. Durable when it returns.
     *
     * Fails: `SchemaConflict` when there is a later one, from this process or another; `NameTaken` for the first only, so
     * that events which were there before the rule go on.
     */
    readonly add: (
      version: NewVersion,
      latest: number
    ) => Effect.Effect<SchemaVersion, SchemaConflict | NameTaken | SchemaRegistryError>
    readonly latest: (subject: Subject) => Effect.Effect<Option.Option<SchemaVersion>, SchemaRegistryError>
    readonly get: (
      subject: Subject,
      version: number
    ) => Effect.Effect<Option.Option<SchemaVersion>, SchemaRegistryError>
    /** Oldest first. */
    readonly versions: (subject: Subject) => Effect.Effect<ReadonlyArray<SchemaVersion>, SchemaRegistryError>
    /** The latest version of each event of a client, by the events' names. */
    readonly list: (client: string) => Effect.Effect<ReadonlyArray<SchemaVersion>, SchemaRegistryError>
    /** Returns whether there is such a version. */
    readonly deprecate: (
      subject: Subject,
      version: number,
      deprecated: boolean
    ) => Effect.Effect<boolean, SchemaRegistryError>
  }
>()("sluice/services/SchemaRegistry") {}
