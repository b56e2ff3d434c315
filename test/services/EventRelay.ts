/** Runs EventRelay servers for tests in a process of their own, and cuts the connections to them. */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { join } from "node:path"
import { env } from "node:process"
import { Redacted } from "effect"
import type { Options as ServerOptions } from "../../src/layers/EventRelayServer.ts"
import type { Connection, Tls } from "../../src/services/EventRelayConnection.ts"
import type { Certificates, Pair } from "./EventRelayCertificates.ts"
import { guarded } from "./Guard.ts"

/** What its process can be asked to do, as in `Controls`. */
export type Command =
  | "createTopic"
  | "createDestination"
  | "createKey"
  | "revokeKey"
  | "limit"
  | "setUnlock"
  | "setUntaken"
  | "put"
  | "failNext"
  | "delayNext"
  | "away"
  | "heal"
  | "calls"
  | "out"
  | "pulled"
  | "stored"
  | "untaken"
  | "dropConnections"
  | "stop"
  | "start"

export interface EventRelay {
  readonly host: string
  readonly port: number
  /** Of an admin; another one after `restart`. */
  readonly token: () => string
  readonly connection: (tls?: Tls, token?: string) => Connection
  /** Such as `do("createDestination", { topic: "orders" })`; the controls' own answer. */
  readonly do: <A = void>(command: Command, ...args: ReadonlyArray<unknown>) => Promise<A>
  /** SIGKILL, and the wait until it is gone, with all it kept. */
  readonly kill: () => Promise<void>
  /** Runs another one on its port, which knows nothing. */
  readonly restart: () => Promise<void>
  /** SIGSTOP: connections stay open and nothing answers. */
  readonly pause: () => void
  /** SIGCONT. */
  readonly resume: () => void
  readonly close: () => Promise<void>
}

/** What a client with that certificate is given. */
export const tlsOf = ({ ca }: Pick<Certificates, "ca">, { cert, key }: Pick<Pair, "cert" | "key">): Tls => ({
  ca: Redacted.make(ca),
  cert: Redacted.make(cert),
  key: Redacted.make(key),
  serverName: undefined
})

/** Returns once it listens. It ends with this process. */
export const start = async (options: Omit<ServerOptions, "newId"> = {}): Promise<EventRelay> => {
  let running = await run(options)
  const { host, port } = running
  const kill = async () => {
    if (running.child.exitCode !== null || running.child.signalCode !== null) return
    const gone = once(running.child, "close")
    running.child.kill("SIGKILL")
    await gone
  }
  return {
    host,
    port,
    token: () => running.token,
    connection: (tls, token = running.token) => ({
      host,
      port,
      tls,
      token: Redacted.make(token),
      callMillis: 30_000,
      keepaliveMillis: 30_000
    }),
    do: (command, ...args) => running.ask(command, args) as Promise<never>,
    kill,
    restart: async () => {
      await kill()
      running = await run({ ...options, port })
    },
    pause: () => void running.child.kill("SIGSTOP"),
    resume: () => void running.child.kill("SIGCONT"),
    close: kill
  }
}

export type Asking = { readonly id: number; readonly command: Command; readonly args: ReadonlyArray<unknown> }
export type Answering =
  | { readonly listens: { readonly host: string; readonly port: number; readonly token: string } }
  | { readonly failed: string }
  | { readonly id: number; readonly value?: unknown; readonly problem?: string }

const startMillisMax = 30_000

const run = async (options: ServerOptions) => {
  const child = fork(join(import.meta.dirname, "EventRelayProcess.ts"), [JSON.stringify(options)], {
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  const guard = guarded()
  guard.add(child)
  child.once("close", guard.release)
  const { host, port, token } = await listens(child)
  const waiting = new Map<
    number,
    { readonly done: (value: unknown) => void; readonly failed: (error: Error) => void }
  >()
  let asked = 0
  child.on("message", (message: Answering) => {
    if (!("id" in message)) return
    const one = waiting.get(message.id)
    waiting.delete(message.id)
    if (message.problem === undefined) one?.done(message.value)
    else one?.failed(new Error(message.problem))
  })
  child.once("close", () => {
    for (const one of waiting.values()) one.failed(new Error("the EventRelay server is gone"))
  })
  const ask = (command: Command, args: ReadonlyArray<unknown>) =>
    new Promise<unknown>((done, failed) => {
      const id = ++asked
      waiting.set(id, { done, failed })
      child.send({ id, command, args } satisfies Asking, (error) => error !== null && failed(error))
    })
  return { child, host, port, token, ask }
}

const listens = (child: ChildProcess) =>
  new Promise<{ readonly host: string; readonly port: number; readonly token: string }>((done, failed) => {
    const late = setTimeout(() => failed(new Error("no EventRelay server in time")), startMillisMax)
    child.once("message", (message: Answering) => {
      clearTimeout(late)
      if ("listens" in message) done(message.listens)
      else failed(new Error("failed" in message ? message.failed : "no EventRelay server"))
    })
    child.once("close", () => {
      clearTimeout(late)
      failed(new Error("the EventRelay server ended"))
    })
  })

// ---------------------------------------------------------------------------------------------------- another's

/**
 * How to reach the server that `EVENTRELAY_HOST` names, which others run: with `EVENTRELAY_PORT`, the token of an admin in
 * `EVENTRELAY_TOKEN`, and paths in `EVENTRELAY_CA`, `EVENTRELAY_CERT` and `EVENTRELAY_KEY`; undefined when it names none.
 */
export const fromEnvironment = (): Connection | undefined => {
  const text = (name: string) => env[name]?.trim() || undefined
  const [host, token] = [text("EVENTRELAY_HOST"), text("EVENTRELAY_TOKEN")]
  const pem = (name: string) => {
    const path = text(name)
    return path === undefined ? undefined : Redacted.make(readFileSync(path, "utf8"))
  }
  const [ca, cert, key] = [pem("EVENTRELAY_CA"), pem("EVENTRELAY_CERT"), pem("EVENTRELAY_KEY")]
  if (host === undefined) return undefined
  return {
    host,
    port: Number(text("EVENTRELAY_PORT") ?? 50_051),
    token: token === undefined ? undefined : Redacted.make(token),
    tls:
      ca === undefined || cert === undefined || key === undefined
        ? undefined
        : { ca, cert, key, serverName: undefined },
    callMillis: 30_000,
    keepaliveMillis: 30_000
  }
}

// ---------------------------------------------------------------------------------------------------- cuts

/** Stands before a server and cuts connections; it passes bytes on, so it is the same for TLS. */
export interface Cutter {
  readonly host: string
  readonly port: number
  /** Breaks the next connection off that brings so many bytes from the server from now on; resolves when it has. */
  readonly cutReplyAfter: (bytes: number) => Promise<void>
  /** Breaks all connections off, and takes no new ones until `mend`. */
  readonly cut: () => void
  readonly mend: () => void
  readonly close: () => Promise<void>
}

export const cutter = async (target: { readonly host: string; readonly port: number }): Promise<Cutter> => {
  const pairs = new Set<readonly [Socket, Socket]>()
  let isCut = false
  let planned: { left: number; readonly struck: () => void } | undefined
  const server = createServer({ noDelay: true }, (client) => {
    if (isCut) {
      client.resetAndDestroy()
      return
    }
    const upstream = connect({ ...target, noDelay: true })
    const pair = [client, upstream] as const
    pairs.add(pair)
    const end = () => {
      pairs.delete(pair)
      client.destroy()
      upstream.destroy()
    }
    for (const socket of pair) socket.on("error", end).on("close", end)
    client.pipe(upstream)
    upstream.on("data", (bytes) => {
      if (planned === undefined || bytes.length < planned.left) {
        if (planned !== undefined) planned.left -= bytes.length
        if (!client.write(bytes)) {
          upstream.pause()
          client.once("drain", () => upstream.resume())
        }
        return
      }
      const { left, struck } = planned
      planned = undefined
      // The first part arrives, and then nothing ever again.
      client.write(bytes.subarray(0, left), () => {
        end()
        struck()
      })
      upstream.destroy()
    })
  })
  await new Promise<void>((listens) => server.listen(0, "127.0.0.1", listens))
  const endAll = () => {
    for (const [client, upstream] of pairs) {
      client.resetAndDestroy()
      upstream.destroy()
    }
  }
  return {
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    cutReplyAfter: (bytes) =>
      new Promise((struck) => {
        planned = { left: bytes, struck }
      }),
    cut: () => {
      isCut = true
      endAll()
    },
    mend: () => {
      isCut = false
    },
    close: () =>
      new Promise((closed) => {
        server.close(() => closed())
        endAll()
      })
  }
}
