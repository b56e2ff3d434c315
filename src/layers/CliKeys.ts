/** What the command line does with the keys of gateway clients. */
import { Clock, Console, Duration, Effect, Option, Redacted, Result, Schema } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import * as Fields from "../services/Fields.ts"
import { type Right, rights } from "../services/GatewayAccess.ts"
import * as Gateway from "../streams/Gateway.ts"
import { oneLine } from "../streams/OneLine.ts"
import { UsageError } from "./CliJournal.ts"
import * as GatewayKeyFile from "./GatewayKeyFile.ts"
import * as GatewayKeys from "./GatewayKeys.ts"

/** The commands after `key`, and the flags that have a value: the command line sorts its words by them. */
export const commands = ["add", "ls", "revoke", "rotate"]
export const valued = ["--scope", "--expires", "--grace"]

const file = Argument.String("file").pipe(Argument.withDescription("The file of keys, as in access.keys of a gateway"))
const client = Argument.String("client").pipe(Argument.withDescription("Whose key it is; * for all clients"))
const id = Argument.String("id").pipe(Argument.withDescription("The part of the key after slk_, as key ls shows it"))
const json = Flag.Boolean("json").pipe(Flag.withDescription("Print JSON"), Flag.withDefault(false))
const scope = Flag.String("scope").pipe(
  Flag.withDescription("What it may do, of send, register and read"),
  Flag.withDefault(rights.join(","))
)
const expires = Flag.String("expires").pipe(
  Flag.withDescription("How long it is good for, such as 90d; absent: until it is revoked"),
  Flag.optional
)
const grace = Flag.String("grace").pipe(
  Flag.withDescription("How long the old key is good beside the new one"),
  Flag.withDefault("1h")
)

// ---------------------------------------------------------------------------------------------------- commands

const add = Effect.fnUntraced(function* (asked: {
  readonly file: string
  readonly client: string
  readonly scope: string
  readonly expires: Option.Option<string>
  readonly json: boolean
}) {
  const { client, file, json } = asked
  const unnamed = nameProblem(client)
  if (unnamed !== undefined) return yield* wrong("client", unnamed, client)
  const scopes = yield* scopesOf(asked.scope)
  const lifetime = Option.isNone(asked.expires) ? undefined : yield* millisOf("--expires", asked.expires.value)
  const createdAt = yield* Clock.currentTimeMillis
  const expiresAt = lifetime === undefined ? undefined : createdAt + lifetime
  // A file that is broken is not made longer.
  yield* GatewayKeyFile.read(file, { orNone: true })
  const made = GatewayKeys.make({ client, scopes, createdAt, expiresAt })
  yield* GatewayKeyFile.append(file, [made.line])
  yield* show(made, json)
})

/** A key for a client that can have no events would be good for nothing. */
const nameProblem = (client: string): string | undefined => {
  if (client === GatewayKeys.everyClient) return undefined
  if (!GatewayKeys.isClient(client)) return "a name of 1 to 200 characters on one line"
  return Gateway.nameProblem({ client, event: "x" }) === undefined
    ? undefined
    : "a name of letters, digits, _ and -, without a dot, or * for all clients"
}

const rotate = Effect.fnUntraced(function* (asked: {
  readonly file: string
  readonly id: string
  readonly grace: string
  readonly json: boolean
}) {
  const graceMillis = yield* millisOf("--grace", asked.grace, true)
  const { line } = yield* goodKey(asked.file, asked.id)
  const now = yield* Clock.currentTimeMillis
  const lifetime = line.expiresAt === undefined ? undefined : Date.parse(line.expiresAt) - Date.parse(line.createdAt)
  const made = GatewayKeys.make({
    client: line.client,
    scopes: line.scopes,
    createdAt: now,
    expiresAt: lifetime === undefined ? undefined : now + lifetime
  })
  const endsAt = GatewayKeys.iso(now + graceMillis)
  yield* GatewayKeyFile.append(asked.file, [made.line, { ...line, expiresAt: endsAt, replacedBy: made.line.id }])
  yield* show(made, asked.json)
  yield* Console.error(`key ${line.id} is good until ${endsAt}`)
})

const revoke = Effect.fnUntraced(function* (asked: { readonly file: string; readonly id: string }) {
  const { line } = yield* keyOf(asked.file, asked.id)
  if (line.revokedAt !== undefined) return yield* Console.log(`key ${line.id} was revoked at ${line.revokedAt}`)
  const revokedAt = GatewayKeys.iso(yield* Clock.currentTimeMillis)
  yield* GatewayKeyFile.append(asked.file, [{ ...line, revokedAt }])
  yield* Console.log(oneLine(`revoked key ${line.id} of ${line.client}`))
})

const list = Effect.fnUntraced(function* ({ file, json }: { readonly file: string; readonly json: boolean }) {
  const keys = yield* GatewayKeyFile.read(file)
  const now = yield* Clock.currentTimeMillis
  const shown = [...keys.values()].map((key) => {
    const { sha256: _, ...line } = key.line
    return { ...line, state: GatewayKeys.stateOf(key, now).toLowerCase() }
  })
  if (json) return yield* Console.log(JSON.stringify(shown))
  if (shown.length === 0) return yield* Console.log("no keys")
  for (const { client, createdAt, expiresAt, id, replacedBy, scopes, state } of shown) {
    const parts = [
      [id, client, scopes.join(","), state, `made ${createdAt}`],
      expiresAt === undefined ? [] : [`expires ${expiresAt}`],
      replacedBy === undefined ? [] : [`replaced by ${replacedBy}`]
    ]
    yield* Console.log(oneLine(parts.flat().join("  ")))
  }
})

export const command = Command.make("key").pipe(
  Command.withDescription("Make, list, revoke and rotate the keys of gateway clients, also while the gateway runs"),
  Command.withSubcommands([
    Command.make("add", { file, client, scope, expires, json }, add).pipe(
      Command.withDescription("Make a key and print it, once; the file keeps only its hash")
    ),
    Command.make("ls", { file, json }, list).pipe(Command.withDescription("List the keys of a file")),
    Command.make("revoke", { file, id }, revoke).pipe(Command.withDescription("End a key at once, for good")),
    Command.make("rotate", { file, id, grace, json }, rotate).pipe(
      Command.withDescription("Make a key in place of another, which ends after a while")
    )
  ])
)

// ---------------------------------------------------------------------------------------------------- what is asked

const wrong = (what: string, expected: string, found: string): Effect.Effect<never, UsageError> =>
  Effect.fail(new UsageError({ reason: oneLine(`${what}: expected ${expected}, found ${JSON.stringify(found)}`) }))

const scopesOf = (text: string): Effect.Effect<ReadonlyArray<Right>, UsageError> => {
  const named = text.split(",").map((one) => one.trim())
  const scopes = rights.filter((right) => named.includes(right))
  return named.every((one) => rights.some((right) => right === one))
    ? Effect.succeed(scopes)
    : wrong("--scope", `some of ${rights.join(",")}`, text)
}

const decodeDuration = Schema.decodeResult(Fields.Duration)
/** Units: milliseconds. Beyond it, times have no ISO form that everybody reads. */
const lifetimeMax = Duration.toMillis(Duration.days(36_500))

const millisOf = (flag: string, text: string, orNone = false): Effect.Effect<number, UsageError> => {
  const duration = decodeDuration(text)
  const millis = Result.isSuccess(duration) ? Duration.toMillis(duration.success) : -1
  return millis > (orNone ? -1 : 0) && millis <= lifetimeMax
    ? Effect.succeed(millis)
    : wrong(flag, "a duration such as 1h or 90d", text)
}

/** Who gives the whole key is not told off with it. */
const keyOf = Effect.fnUntraced(function* (file: string, id: string) {
  const key = (yield* GatewayKeyFile.read(file)).get(id)
  if (key !== undefined) return key
  const shown = id.startsWith(GatewayKeys.prefix) ? "a whole key" : JSON.stringify(id)
  return yield* new UsageError({ reason: oneLine(`id: expected one that key ls ${file} shows, found ${shown}`) })
})

const goodKey = Effect.fnUntraced(function* (file: string, id: string) {
  const key = yield* keyOf(file, id)
  const state = GatewayKeys.stateOf(key, yield* Clock.currentTimeMillis)
  if (state !== "Good") return yield* new UsageError({ reason: `key ${id} is ${state.toLowerCase()}: add another` })
  if (key.line.replacedBy === undefined) return key
  return yield* new UsageError({ reason: `key ${id} has been replaced already, by ${key.line.replacedBy}` })
})

const show = ({ key, line }: ReturnType<typeof GatewayKeys.make>, json: boolean) => {
  const { sha256: _, ...shown } = line
  const text = Redacted.value(key)
  if (json) return Console.log(JSON.stringify({ ...shown, key: text }))
  const what = `key ${line.id} for ${line.client} may ${line.scopes.join(", ")}; it is shown only this once`
  return Effect.andThen(Console.log(text), Console.error(oneLine(what)))
}
