/** What the catalog knows about a component: its type, its options, and how one is made. */
import { type Effect, type FileSystem, type Path, Schema, type Scope, type Stdio } from "effect"
import type { AzureQueueClient } from "./AzureQueue.ts"
import type { Codec } from "./Codec.ts"
import type { Detector } from "./Detector.ts"
import type { Dispatcher } from "./Dispatcher.ts"
import type { EventRelayClient } from "./EventRelay.ts"
import type { GatewayAccess } from "./GatewayAccess.ts"
import type { HttpHost } from "./HttpHost.ts"
import type { Inbox } from "./Inbox.ts"
import type { Compression, KafkaClient } from "./Kafka.ts"
import type { Positions } from "./Positions.ts"
import type { Publisher } from "./Publisher.ts"
import type { SchemaLanguages } from "./SchemaLanguage.ts"
import type { SchemaRegistry } from "./SchemaRegistry.ts"
import type { Source, Transact } from "./Source.ts"
import type { Topics } from "./Topics.ts"
import type { WebhookAuth } from "./WebhookAuth.ts"
import type { ZeroMq } from "./ZeroMq.ts"

/** One thing wrong with the options as written. The config adds file, line and column. */
export interface Problem {
  /** Where, from the component's own options on, such as `["headers", "x"]`. */
  readonly path: ReadonlyArray<string | number>
  readonly expected: string
  readonly found: unknown
  /** The words that would be right there, for a suggestion. */
  readonly words?: ReadonlyArray<string> | undefined
}

/** The options do not make a component. */
export class OptionsError extends Schema.TaggedError<OptionsError>()("OptionsError", {
  problems: Schema.Array(Schema.Any as Schema.Schema<Problem>)
}) {}

/** Where a component stands. */
export interface Site {
  readonly pipeline: string
  /** The options of the pipeline's own source, as decoded. */
  readonly source: { readonly type: string }
  /** Set where positions are committed with what is published: how, and what the publisher does it with. */
  readonly exactlyOnce?: { readonly compression: Compression } | undefined
  readonly transact?: Transact | undefined
  /** The folder of the config, from which relative paths start. */
  readonly folder: string
  /** The pipeline's concurrency, for pools. Units: working legs. */
  readonly concurrency: number
  /** What may wait beyond them. Units: deliveries. */
  readonly bufferMessages: number
  /** Whether messages are ordered by something that is read from them, so that some wait for others. */
  readonly keyed: boolean
  /** Puts the names of variables back where their values stand in a text that is logged or kept. */
  readonly hide: (text: string) => string
}

/** What a component may ask for when it is made. */
export type Needs =
  | AzureQueueClient
  | EventRelayClient
  | FileSystem.FileSystem
  | GatewayAccess
  | HttpHost
  | Inbox
  | KafkaClient
  | Path.Path
  | Positions
  | SchemaLanguages
  | SchemaRegistry
  | Scope.Scope
  | Stdio.Stdio
  | Topics
  | WebhookAuth
  | ZeroMq

/**
 * A component: one file, and one line in `layers/Catalog.ts`.
 *
 * `make` checks and builds, also for `check`; it opens no connection and starts no work: that is for the first use.
 */
export interface Component<Kind extends string, Options, Made> {
  readonly kind: Kind
  /** Its name in the config's `type`. */
  readonly type: string
  /** One sentence for the help and the docs. */
  readonly summary: string
  /** The fields besides `type` and those every component of the kind has (`on`, `when`, ...). */
  readonly options: Schema.Struct<Schema.Struct.Fields> & { readonly Type: Options }
  readonly make: (options: Options, site: Site) => Effect.Effect<Made, OptionsError, Needs>
}

export type SourceComponent = Component<"source", any, Source>
export type CodecComponent = Component<"codec", any, Codec>
export type DetectorComponent = Component<"detector", any, Detector>
export type DispatcherComponent = Component<"dispatcher", any, Dispatcher>
export type PublisherComponent = Component<"publisher", any, Publisher>

/** Keeps the options' type between the schema and `make`. */
const component =
  <Kind extends string, Made>(kind: Kind) =>
  <Fields extends Schema.Struct.Fields>(definition: {
    readonly type: string
    readonly summary: string
    readonly options: Schema.Struct<Fields>
    readonly make: (options: Schema.Struct.Type<Fields>, site: Site) => Effect.Effect<Made, OptionsError, Needs>
  }): Component<Kind, any, Made> =>
    ({ kind, ...definition }) as unknown as Component<Kind, any, Made>

export const source = component<"source", Source>("source")
export const codec = component<"codec", Codec>("codec")
export const detector = component<"detector", Detector>("detector")
export const dispatcher = component<"dispatcher", Dispatcher>("dispatcher")
export const publisher = component<"publisher", Publisher>("publisher")
