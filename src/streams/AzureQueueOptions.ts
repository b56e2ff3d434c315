/** Makes a connection to a queue's account of its options: whose account, where it is, and who we are. */
import { Duration, Effect, Redacted, Result } from "effect"
import type { Connection, Options } from "../services/AzureQueueConnection.ts"
import { OptionsError, type Problem, type Site } from "../services/Component.ts"
import * as ConnectionString from "./AzureQueueConnectionString.ts"

/** `path` is where the options stand. Fails: `OptionsError`, with everything wrong and no secret. */
export const connectionOf = (options: Options, path: Problem["path"] = []): Effect.Effect<Connection, OptionsError> =>
  Effect.suspend(() => {
    const problems: Array<Problem> = []
    const say: Say = (name, expected, found) => {
      problems.push({ path: [...path, name], expected, found })
    }
    const made = options.connectionString === undefined ? byParts(options, say) : byString(options, say)
    const requestMillis = Duration.toMillis(options.requestTimeout)
    if (requestMillis < 1) say("requestTimeout", "at least a millisecond", `${requestMillis} ms`)
    return made === undefined || problems.length > 0
      ? Effect.fail(new OptionsError({ problems }))
      : Effect.succeed({ ...made, requestMillis })
  })

/** Options that name no account reach the one of the pipeline's own source, with its credential where they have none. */
export const shared = (options: Options, { source }: Pick<Site, "source">): Effect.Effect<Options, OptionsError> => {
  const named = options.account ?? options.connectionString ?? options.endpoint
  if (named !== undefined) return Effect.succeed(options)
  if (source.type !== "azure-queue") {
    const expected = "an account, a connectionString or an endpoint, since the pipeline's source is not azure-queue"
    return Effect.fail(new OptionsError({ problems: [{ path: ["account"], expected, found: undefined }] }))
  }
  const { account, accountKey, connectionString, endpoint, sas } = source as unknown as Options
  const hasOwn = options.accountKey !== undefined || options.sas !== undefined
  return Effect.succeed({
    ...(account === undefined ? undefined : { account }),
    ...(connectionString === undefined ? undefined : { connectionString }),
    ...(endpoint === undefined ? undefined : { endpoint }),
    ...(accountKey === undefined || hasOwn ? undefined : { accountKey }),
    ...(sas === undefined || hasOwn ? undefined : { sas }),
    ...options
  })
}

/** The account a connection string names; undefined where it names none or is not one. */
export const accountOf = (connectionString: string): string | undefined =>
  Result.match(ConnectionString.parse(connectionString), {
    onFailure: () => undefined,
    onSuccess: ({ account, endpoint }) => account ?? accountIn(endpoint)
  })

/** Source: https://learn.microsoft.com/rest/api/storageservices/naming-queues-and-metadata */
export const isQueue = (name: string): boolean =>
  name.length >= 3 && name.length <= 63 && /^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(name)

export const queueExpected =
  "the name of a queue: 3 to 63 lower-case letters, digits and single dashes, a letter or digit at both ends"

type Say = (name: keyof Options, expected: string, found: unknown) => void
type Made = Omit<Connection, "requestMillis">

const noAccount = "the account's name, since the endpoint does not tell it"

const byString = (options: Options, say: Say): Made | undefined => {
  for (const name of ["accountKey", "sas", "endpoint"] as const) {
    if (options[name] !== undefined) say(name, `either a connectionString or ${name}`, "both")
  }
  const read = ConnectionString.parse(Redacted.value(options.connectionString!))
  if (Result.isFailure(read)) {
    say("connectionString", read.failure.expected, read.failure.found)
    return undefined
  }
  const { credential, endpoint } = read.success
  const account = read.success.account ?? accountIn(endpoint) ?? options.account
  if (account === undefined) {
    say("account", noAccount, undefined)
    return undefined
  }
  if (options.account !== undefined && options.account !== account) {
    say("account", `${account}, the account of the connectionString, or none`, options.account)
  }
  return { account, endpoint, credential }
}

const byParts = (options: Options, say: Say): Made | undefined => {
  const endpoint = options.endpoint === undefined ? undefined : endpointOf(options.endpoint, say)
  const told = endpoint === undefined ? undefined : accountIn(endpoint)
  const account = options.account ?? told
  const credential = credentialOf(options, say)
  if (account === undefined) {
    if (options.endpoint === undefined) say("account", "an account, a connectionString or an endpoint", undefined)
    else if (endpoint !== undefined) say("account", noAccount, undefined)
    return undefined
  }
  if (told !== undefined && told !== account) say("account", `${told}, the account of the endpoint, or none`, account)
  if (options.endpoint === undefined && !ConnectionString.isAccount(account)) {
    say("account", ConnectionString.accountExpected, account)
  }
  const reached = endpoint === undefined ? `https://${account}.queue.core.windows.net` : withAccount(endpoint, account)
  if (credential?._tag === "Identity" && reached.startsWith("http:")) {
    say("endpoint", "https, since DefaultAzureCredential sends no token over http; or an accountKey or a sas", reached)
  }
  return credential === undefined ? undefined : { account, endpoint: reached, credential }
}

const credentialOf = ({ accountKey, sas }: Options, say: Say): Connection["credential"] | undefined => {
  if (accountKey !== undefined && sas !== undefined) say("sas", "either an accountKey or a sas", "both")
  if (accountKey !== undefined) {
    const key = Redacted.value(accountKey).trim()
    if (ConnectionString.isKey(key)) return { _tag: "Key", key: Redacted.make(key) }
    say("accountKey", ConnectionString.keyExpected, "other text")
    return undefined
  }
  if (sas === undefined) return { _tag: "Identity" }
  const query = ConnectionString.queryOf(Redacted.value(sas))
  if (query !== undefined) return { _tag: "Sas", sas: Redacted.make(query) }
  say("sas", ConnectionString.sasExpected, "other text")
  return undefined
}

const endpointOf = (text: string, say: Say): string | undefined => {
  const endpoint = ConnectionString.endpointOf(text)
  if (endpoint === undefined) {
    const expected = "a URL without user, question mark or #, such as https://myaccount.queue.core.windows.net"
    say("endpoint", expected, text.replace(/\/\/[^/?#]*@/, "//").replace(/[?#].*$/s, ""))
  }
  return endpoint
}

/** Emulators take the account from the path where the host cannot name it. */
const withAccount = (endpoint: string, account: string): string =>
  isPathStyle(new URL(endpoint)) && new URL(endpoint).pathname === "/" ? `${endpoint}/${account}` : endpoint

/** An address, or a name in one word such as `localhost`. */
const isPathStyle = ({ hostname }: URL): boolean =>
  /^\d+\.\d+\.\d+\.\d+$|^\[/.test(hostname) || !hostname.includes(".") || hostname === "host.docker.internal"

/** `https://<account>.queue...`, or the first segment of the path. */
const accountIn = (endpoint: string): string | undefined => {
  const url = new URL(endpoint)
  if (isPathStyle(url)) return url.pathname.split("/")[1] || undefined
  const [first, ...rest] = url.hostname.split(".")
  return rest.includes("queue") ? first!.replace(/-secondary$/, "") : undefined
}
