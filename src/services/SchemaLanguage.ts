/** A language in which schemas are written: compiles them into validators, and tells whether one can follow another. */
import { Context, type Effect, type Result, Schema } from "effect"
import type { Compatibility, SchemaType } from "./SchemaRegistry.ts"

/** The text is no schema that can be used here: broken, too large, too deep, hostile. */
export class SchemaInvalid extends Schema.TaggedError<SchemaInvalid>()("SchemaInvalid", {
  /** One sentence, with the place in the schema where there is one. */
  reason: Schema.String
}) {
  override get message(): string {
    return this.reason
  }
}

/** One thing wrong with a value. */
export interface Violation {
  /** Such as `payload.order.lines.0`; `payload` for the value as a whole. */
  readonly path: string
  readonly message: string
}

export interface Validator {
  /** Everything that is wrong with a value as JSON has it; empty when it is valid. Only own properties count. */
  readonly check: (value: unknown) => ReadonlyArray<Violation>
  /** For languages with a binary form: reads it as a value for `check`. Fails: with a sentence. */
  readonly decode?: ((bytes: Uint8Array) => Result.Result<unknown, string>) | undefined
}

export interface SchemaLanguage {
  readonly type: SchemaType
  /** Bounded in time and memory whatever the text is. Nothing is fetched from anywhere. */
  readonly compile: (schema: string) => Effect.Effect<Validator, SchemaInvalid>
  /** What keeps `newer` from following `older` under a rule, in sentences; empty when it can. */
  readonly conflicts: (
    rule: Compatibility,
    older: string,
    newer: string
  ) => Effect.Effect<ReadonlyArray<string>, SchemaInvalid>
}

export class SchemaLanguages extends Context.Service<
  SchemaLanguages,
  { readonly of: (type: SchemaType) => SchemaLanguage }
>()("sluice/services/SchemaLanguages") {}
