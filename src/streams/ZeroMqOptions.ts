/** Makes the options of a ZeroMQ socket of what is written: addresses, keys and intervals that can be meant. */
import { Duration, Effect, Path, Redacted } from "effect"
import { OptionsError, type Problem } from "../services/Component.ts"
import type { Curve, SocketOptions } from "../services/ZeroMq.ts"
import type { Options } from "../services/ZeroMqConnection.ts"

export type Meeting = Pick<SocketOptions, "addresses" | "attach" | "curve" | "heartbeat" | "reconnect">

/** Relative paths of `ipc://` start at `folder`. Fails: `OptionsError`, with everything wrong. */
export const meetingOf = Effect.fnUntraced(function* (
  options: Options,
  folder: string,
  more: ReadonlyArray<Problem> = []
): Effect.fn.Return<Required<Meeting>, OptionsError, Path.Path> {
  const paths = yield* Path.Path
  const problems: Array<Problem> = [...more]
  const attach = options.bind === undefined ? "connect" : "bind"
  const given = options.bind ?? options.connect
  if (given === undefined) problems.push({ path: ["connect"], expected: "connect or bind", found: undefined })
  if (options.bind !== undefined && options.connect !== undefined) {
    problems.push({ path: ["bind"], expected: "either connect or bind", found: "both" })
  }
  const list = typeof given === "string" ? [given] : (given ?? [])
  const addresses = list.map((one, i) => {
    const address = addressOf(one, attach, (path) => paths.resolve(folder, path))
    if (address !== undefined) return address
    const path = typeof given === "string" ? [attach] : [attach, i]
    problems.push({ path, expected: expectedAddress[attach], found: one })
    return one
  })
  const curve = curveOf(options.curve, problems)
  const reconnect = {
    minMillis: Math.max(1, Duration.toMillis(options.reconnect.min)),
    maxMillis: Duration.toMillis(options.reconnect.max)
  }
  if (reconnect.maxMillis < reconnect.minMillis) {
    const expected = `at least the minimum of ${reconnect.minMillis} ms`
    problems.push({ path: ["reconnect", "max"], expected, found: `${reconnect.maxMillis} ms` })
  }
  if (problems.length > 0) return yield* new OptionsError({ problems })
  const { heartbeat } = options
  return {
    attach,
    addresses,
    curve,
    reconnect,
    heartbeat: heartbeat && {
      intervalMillis: Duration.toMillis(heartbeat.interval),
      timeoutMillis: Duration.toMillis(heartbeat.timeout ?? Duration.times(heartbeat.interval, 3))
    }
  }
})

/** How a socket is called in names and letters. */
export const nameOf = ({ addresses }: Pick<Meeting, "addresses">): string => `zeromq:${addresses.join(",")}`

const expectedAddress = {
  connect: "an address such as tcp://localhost:5555 or ipc:///run/events.sock",
  bind: "an address of this machine such as tcp://127.0.0.1:5555, tcp://*:5555 or ipc:///run/events.sock"
}

/** The library takes any number for a port and uses what is left of it in 16 bits, so it is checked here. */
const addressOf = (
  text: string,
  attach: SocketOptions["attach"],
  resolve: (path: string) => string
): string | undefined => {
  const ipc = /^ipc:\/\/(.+)$/.exec(text)
  // What begins with @ is a name in Linux's abstract namespace, not a path.
  if (ipc !== null) return ipc[1]!.startsWith("@") ? text : `ipc://${resolve(ipc[1]!)}`
  const tcp = /^tcp:\/\/(\[[0-9a-fA-F:.%\w]+\]|[^\s:/[\]]+):(\d{1,5}|\*)$/.exec(text)
  if (tcp === null) return undefined
  const [, host, port] = tcp
  if (attach === "connect") return host !== "*" && Number(port) >= 1 && Number(port) <= 65_535 ? text : undefined
  return port === "*" || Number(port) <= 65_535 ? text : undefined
}

/** Source: https://rfc.zeromq.org/spec/32/ */
const z85 = /^[0-9a-zA-Z.\-:+=^!/*?&<>()[\]{}@%$#]{40}$/

const keyExpected = "a CURVE key of 40 characters (Z85)"

const curveOf = (curve: Options["curve"], problems: Array<Problem>): Curve | undefined => {
  if (curve === undefined) return undefined
  const { publicKey, secretKey, server, serverKey } = curve
  const problem = (name: string, expected: string, found: unknown) =>
    problems.push({ path: ["curve", name], expected, found })
  if (publicKey !== undefined && !z85.test(publicKey)) problem("publicKey", keyExpected, publicKey)
  if (serverKey !== undefined && !z85.test(serverKey)) problem("serverKey", keyExpected, serverKey)
  if (secretKey !== undefined && !z85.test(Redacted.value(secretKey))) {
    problem("secretKey", `${keyExpected}; what came is not shown`, "other text")
  }
  if (server) {
    if (serverKey !== undefined) problem("serverKey", "no server key, since this is the server", serverKey)
    if (secretKey !== undefined) return { _tag: "Server", publicKey, secretKey }
    problem("secretKey", "the server's secret key", undefined)
    return undefined
  }
  if (publicKey !== undefined && secretKey === undefined) {
    problem("secretKey", "the secret key of the public one", undefined)
  }
  if (serverKey !== undefined) return { _tag: "Client", serverKey, publicKey, secretKey }
  problem("serverKey", "the server's public key, or server: true", undefined)
  return undefined
}
