/** How an Azure Storage account is reached: by its name and who we are, by a connection string, by a key or by a SAS. */
import { Duration, type Redacted, Schema } from "effect"
import * as Fields from "./Fields.ts"

/** The connection's options, the same for sources, publishers and dead letters. */
export const fields = {
  /** The account's name. Alone it means DefaultAzureCredential: environment, workload or managed identity, Azure CLI. */
  account: Schema.optionalKey(Fields.Text),
  connectionString: Schema.optionalKey(Fields.Secret),
  /** The account's key. */
  accountKey: Schema.optionalKey(Fields.Secret),
  /** A shared access signature of the account or the queue, with or without its question mark. */
  sas: Schema.optionalKey(Fields.Secret),
  /** Where the queue service is, when it is not `https://<account>.queue.core.windows.net`, such as an emulator. */
  endpoint: Schema.optionalKey(Fields.Url),
  /** How long one request may take. */
  requestTimeout: Fields.orElse(Fields.Duration, Duration.seconds(30))
}

const Options = Schema.Struct(fields)
export type Options = typeof Options.Type

/** A connection, with everything read and checked. */
export interface Connection {
  readonly account: string
  /** The queue service's URL, without a slash at its end. */
  readonly endpoint: string
  readonly credential:
    | { readonly _tag: "Key"; readonly key: Redacted.Redacted<string> }
    /** Without its question mark. */
    | { readonly _tag: "Sas"; readonly sas: Redacted.Redacted<string> }
    | { readonly _tag: "Identity" }
  /** Units: milliseconds. */
  readonly requestMillis: number
}
