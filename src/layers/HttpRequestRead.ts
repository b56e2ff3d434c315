/** A request as routes are given it: its head at once, its body when it has been read. */
import type { Buffer } from "node:buffer"
import type { IncomingMessage } from "node:http"
import type { HttpRequest } from "../services/HttpHost.ts"

const noBody = new Uint8Array(0)

/** Units: bytes that a head may have beside its body. */
const packetBytes = 4096

/** What a route is given; most never look at the query. */
export class Request implements HttpRequest {
  readonly method: string
  readonly path: string
  readonly params: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  body: Uint8Array = noBody
  private readonly search: string
  private readonly incoming: IncomingMessage

  constructor(incoming: IncomingMessage, path: string, query: number, params: Readonly<Record<string, string>>) {
    this.method = incoming.method!
    this.path = path
    this.params = params
    this.search = query < 0 ? "" : incoming.url!.slice(query + 1)
    this.headers = headersOf(incoming)
    this.incoming = incoming
  }

  get query(): URLSearchParams {
    return this.search === "" ? noQuery : new URLSearchParams(this.search)
  }

  get remote(): string | undefined {
    return this.incoming.socket.remoteAddress
  }
}

const noQuery = new URLSearchParams()

/** What is a small part of a larger packet would keep all of it. */
export const alone = (chunk: Buffer): Uint8Array =>
  chunk.buffer.byteLength > 2 * chunk.byteLength + packetBytes ? Uint8Array.from(chunk) : chunk

/** Node joins repeated headers itself, but for `set-cookie`, which no request has. */
const headersOf = ({ headers }: IncomingMessage): Readonly<Record<string, string>> => {
  if (headers["set-cookie"] === undefined) return headers as Readonly<Record<string, string>>
  return { ...headers, "set-cookie": headers["set-cookie"].join(", ") } as Readonly<Record<string, string>>
}
