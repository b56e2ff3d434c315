/** Makes an authority and certificates for an EventRelay server and its clients with openssl, for tests. */
import { execFile } from "node:child_process"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"

/** PEM texts, and the files they are in. */
export interface Pair {
  readonly cert: string
  readonly key: string
  readonly certFile: string
  readonly keyFile: string
}

export interface Certificates {
  readonly folder: string
  readonly ca: string
  readonly caFile: string
  /** For 127.0.0.1 and localhost. */
  readonly server: Pair
  /** As `server`, but its time is over. */
  readonly serverExpired: Pair
  readonly client: Pair
  /** As `client`, but its time is over. */
  readonly clientExpired: Pair
  /** Of an authority that nobody knows. */
  readonly stranger: Pair & { readonly ca: string; readonly caFile: string }
  readonly remove: () => Promise<void>
}

const run = promisify(execFile)

/** Why none can be made here, in one sentence; undefined when they can. */
export const available = (): Promise<string | undefined> =>
  run("openssl", ["version"]).then(
    () => undefined,
    () => "there is no openssl here to make certificates"
  )

export const make = async (): Promise<Certificates> => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-eventrelay-"))
  const own = await authority(folder, "ca")
  const other = await authority(folder, "stranger-ca")
  const [server, serverExpired, client, clientExpired, stranger] = await Promise.all([
    issue(own, "server", 2),
    issue(own, "server-expired", -1),
    issue(own, "client", 2),
    issue(own, "client-expired", -1),
    issue(other, "stranger", 2)
  ])
  return {
    folder,
    ca: own.ca,
    caFile: own.caFile,
    server,
    serverExpired,
    client,
    clientExpired,
    stranger: { ...stranger, ca: other.ca, caFile: other.caFile },
    remove: () => rm(folder, { recursive: true, force: true })
  }
}

interface Authority {
  readonly folder: string
  readonly ca: string
  readonly caFile: string
  readonly caKeyFile: string
}

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

const authority = async (folder: string, name: string): Promise<Authority> => {
  const [caFile, caKeyFile] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)]
  const files = ["-keyout", caKeyFile, "-out", caFile]
  await run("openssl", ["req", "-x509", ...newKey, "-days", "2", "-subj", `/CN=EventRelay ${name}`, ...files])
  return { folder, ca: await readFile(caFile, "utf8"), caFile, caKeyFile }
}

/** With a negative number of days its time is over. */
const issue = async ({ caFile, caKeyFile, folder }: Authority, name: string, days: number): Promise<Pair> => {
  const file = (ending: string) => join(folder, `${name}.${ending}`)
  await run("openssl", ["req", "-new", ...newKey, "-subj", `/CN=${name}`, "-keyout", file("key"), "-out", file("csr")])
  await writeFile(file("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
  const by = ["-CA", caFile, "-CAkey", caKeyFile, "-set_serial", `0x${serial()}`, "-extfile", file("ext")]
  await run("openssl", ["x509", "-req", "-in", file("csr"), ...by, "-days", `${days}`, "-out", file("crt")])
  return {
    cert: await readFile(file("crt"), "utf8"),
    key: await readFile(file("key"), "utf8"),
    certFile: file("crt"),
    keyFile: file("key")
  }
}

const serial = (): string => crypto.randomUUID().replaceAll("-", "").slice(1)
