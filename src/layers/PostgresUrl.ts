/** The URL of a Postgres database, and what may be said of it: never its password. */

/** What errors name. */
export interface Place {
  readonly host: string
  readonly port: number
  readonly database: string | undefined
}

export const expected =
  "a URL such as postgres://user:password@host:5432/database, what is special in the password percent-encoded (@ as %40)"

/**
 * Where it leads to, as the driver reads it; undefined when it is no such URL.
 *
 * A password with a bare `/`, `?` or `#` would be read as database or host, and be named: such a URL has an `@` or a
 * fragment where none belongs.
 */
export const placeOf = (text: string): Place | undefined => {
  if (!URL.canParse(text)) return undefined
  const { hash, hostname, password, pathname, port, protocol, search, searchParams, username } = new URL(text)
  if (protocol !== "postgres:" && protocol !== "postgresql:") return undefined
  if (hash !== "" || `${pathname}${search}`.includes("@")) return undefined
  const [host, path, user, hidden] = [hostname, pathname.slice(1), username, password].map(decode)
  if (host === undefined || path === undefined || user === undefined || hidden === undefined) return undefined
  const at = Number(searchParams.get("port") ?? (port === "" ? 5432 : port))
  if (!Number.isInteger(at) || at < 1 || at > 65_535) return undefined
  const database = searchParams.get("dbname") ?? (path === "" ? (searchParams.get("user") ?? user) : path)
  return {
    host: searchParams.get("host") ?? (host === "" ? "localhost" : host.replace(/^\[(.*)\]$/, "$1")),
    port: at,
    // Undefined: that of the user the process runs as.
    database: database === "" ? undefined : database
  }
}

const decode = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
