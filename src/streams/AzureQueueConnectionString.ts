/** Reads the connection string of a storage account, and the parts it is made of. */
import { Redacted, Result } from "effect"
import type { Connection } from "../services/AzureQueueConnection.ts"

export interface Parsed {
  /** Absent where only an endpoint is given. */
  readonly account: string | undefined
  readonly endpoint: string
  readonly credential: Connection["credential"]
}

/** What is wrong, without a secret. */
export interface Unread {
  readonly expected: string
  readonly found: string
}

/** Source: https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string */
export const parse = (text: string): Result.Result<Parsed, Unread> => {
  const values = valuesIn(text)
  if (values === undefined) return unread(form, "text that is none")
  if (values.get("usedevelopmentstorage")?.toLowerCase() === "true") {
    return development(values.get("developmentstorageproxyuri"))
  }
  const account = values.get("accountname")
  const key = values.get("accountkey")
  const sas = values.get("sharedaccesssignature")
  if (account === undefined && values.get("queueendpoint") === undefined) {
    return unread("one with AccountName or QueueEndpoint", "neither")
  }
  if (key !== undefined && sas !== undefined) {
    return unread("one with either AccountKey or SharedAccessSignature", "both")
  }
  const credential = credentialOf(key, sas)
  if (Result.isFailure(credential)) return Result.fail(credential.failure)
  if (key !== undefined && account === undefined) return unread("one with AccountName besides AccountKey", "none")
  const endpoint = endpointIn(values, account)
  return Result.map(endpoint, (endpoint) => ({ account, endpoint, credential: credential.success }))
}

const credentialOf = (
  key: string | undefined,
  sas: string | undefined
): Result.Result<Connection["credential"], Unread> => {
  if (key !== undefined) {
    if (!isKey(key)) return unread(`one whose AccountKey is ${keyExpected}`, "other text")
    return Result.succeed({ _tag: "Key", key: Redacted.make(key) })
  }
  if (sas === undefined) return unread("one with AccountKey or SharedAccessSignature", "neither")
  const query = queryOf(sas)
  if (query === undefined) return unread(`one whose SharedAccessSignature is ${sasExpected}`, "other text")
  return Result.succeed({ _tag: "Sas", sas: Redacted.make(query) })
}

const endpointIn = (
  values: ReadonlyMap<string, string>,
  account: string | undefined
): Result.Result<string, Unread> => {
  const given = values.get("queueendpoint")
  if (given !== undefined) {
    const endpoint = endpointOf(given)
    return endpoint === undefined ? unread("one whose QueueEndpoint is a URL", "other text") : Result.succeed(endpoint)
  }
  const protocol = values.get("defaultendpointsprotocol")?.toLowerCase() ?? "https"
  if (protocol !== "https" && protocol !== "http") {
    return unread("one whose DefaultEndpointsProtocol is https or http", "another")
  }
  if (account === undefined || !isAccount(account))
    return unread(`one whose AccountName is ${accountExpected}`, "other")
  const suffix = values.get("endpointsuffix") ?? "core.windows.net"
  const endpoint = endpointOf(`${protocol}://${account}.queue.${suffix.replace(/^\./, "")}`)
  return endpoint === undefined
    ? unread("one whose EndpointSuffix is a domain", "other text")
    : Result.succeed(endpoint)
}

const form = "a connection string such as AccountName=...;AccountKey=... or QueueEndpoint=...;SharedAccessSignature=..."

const unread = (expected: string, found: string): Result.Result<never, Unread> => Result.fail({ expected, found })

/** By their names in lower case; an equals sign may be part of a value. */
const valuesIn = (text: string): ReadonlyMap<string, string> | undefined => {
  const values = new Map<string, string>()
  for (const part of text.split(";")) {
    if (part.trim() === "") continue
    const [, name, value] = /^\s*([A-Za-z]+)\s*=([\s\S]*)$/.exec(part) ?? []
    if (name === undefined) return undefined
    if (value!.trim() !== "") values.set(name.toLowerCase(), value!.trim())
  }
  return values.size === 0 ? undefined : values
}

/** Azurite's account; everybody knows its key. Source: https://learn.microsoft.com/azure/storage/common/storage-use-azurite */
const development = (proxy = "http://127.0.0.1"): Result.Result<Parsed, Unread> => {
  const endpoint = endpointOf(`${proxy.replace(/\/+$/, "")}:10001/devstoreaccount1`)
  if (endpoint === undefined) return unread("one whose DevelopmentStorageProxyUri is a URL without port", "other text")
  return Result.succeed({
    account: "devstoreaccount1",
    endpoint,
    credential: {
      _tag: "Key",
      key: Redacted.make("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")
    }
  })
}

export const isAccount = (name: string): boolean => /^[a-z0-9]{3,24}$/.test(name)

export const accountExpected = "the name of a storage account: 3 to 24 lower-case letters and digits"

export const isKey = (key: string): boolean => key.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(key)

export const keyExpected = "an account key, which is base64"

/** The query of a SAS, which may come with its question mark or the whole URL before it. */
export const queryOf = (sas: string): string | undefined => {
  const query = sas.slice(sas.indexOf("?") + 1).trim()
  return /^[\x21-\x7e]+$/.test(query) && new URLSearchParams(query).get("sig") ? query : undefined
}

export const sasExpected = "a shared access signature such as sv=...&sig=..."

/** Without slashes at its end; undefined where more than a place is in it. */
export const endpointOf = (text: string): string | undefined => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== "https:" && url.protocol !== "http:")) return undefined
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") return undefined
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "")
}
