/** The properties of librdkafka: which become options of ours, which only tune it, and which we cannot honour. */

export type Role = "consumer" | "producer"

// ---------------------------------------------------------------------------------------------------- values

export interface Kind {
  readonly expected: string
  readonly words?: ReadonlyArray<string>
  /** Undefined for a value that is none. */
  readonly read: (value: string) => unknown
}

const whole = (value: string, minimum: number, maximum: number): number | undefined => {
  const read = /^\s*-?\d+\s*$/.test(value) ? Number(value) : Number.NaN
  return read >= minimum && read <= maximum ? read : undefined
}

const bytes = (minimum: number, maximum: number): Kind => ({
  expected: `a whole number of bytes from ${minimum} to ${maximum}`,
  read: (value) => whole(value, minimum, maximum)
})

const millis = (minimum: number, maximum: number): Kind => ({
  expected: `a whole number of milliseconds from ${minimum} to ${maximum}`,
  read: (value) => {
    const read = whole(value, minimum, maximum)
    return read === undefined ? undefined : `${read} millis`
  }
})

/** Words in any case, as librdkafka reads them. */
export const oneOf = (words: Readonly<Record<string, unknown>>): Kind => ({
  expected: `one of ${Object.keys(words).join(", ")}`,
  words: Object.keys(words),
  read: (value) => new Map(Object.entries(words)).get(value.trim().toLowerCase())
})

export const same = (...words: ReadonlyArray<string>): Kind =>
  oneOf(Object.fromEntries(words.map((word) => [word, word])))

export const truth: Kind = {
  expected: "true or false",
  read: (value) => oneOf({ true: true, t: true, "1": true, false: false, f: false, "0": false }).read(value)
}

const text: Kind = { expected: "text", read: (value) => value }

const acks: Kind = {
  expected: "all, -1, 1 or 0",
  read: (value) => oneOf({ all: "all", "-1": "all", "1": 1, "0": 0 }).read(value)
}

/** Separated by commas, with spaces around; 9092 is the port where none is given. */
const brokers: Kind = {
  expected: "broker addresses such as localhost:9092, separated by commas",
  read: (value) => {
    const all = value
      .split(",")
      .map(address)
      .filter((one) => one !== "")
    return all.length === 0 || all.includes(undefined) ? undefined : all
  }
}

const address = (text: string): string | undefined => {
  const bare = text.trim().replace(/^(?:plaintext|ssl|sasl_plaintext|sasl_ssl):\/\//i, "")
  if (bare === "") return ""
  if (/^[^:\s]+$|^\[[^\]\s]+\]$/.test(bare)) return `${bare}:9092`
  const port = /^(?:[^:\s]+|\[[^\]\s]+\]):(\d{1,5})$/.exec(bare)?.[1]
  return port !== undefined && Number(port) > 0 && Number(port) <= 65_535 ? bare : undefined
}

// ---------------------------------------------------------------------------------------------------- properties

// Source: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md

/** Two names of one property; the right one is the better known. */
export const aliases = new Map([
  ["metadata.broker.list", "bootstrap.servers"],
  ["fetch.message.max.bytes", "max.partition.fetch.bytes"],
  ["request.required.acks", "acks"],
  ["compression.codec", "compression.type"],
  ["sasl.mechanisms", "sasl.mechanism"],
  ["auto.commit.enable", "enable.auto.commit"],
  ["sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"],
  ["sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"]
])

export type Target = readonly [option: string, kind: Kind, role?: Role]

/** Properties that become an option; those of the connection's security follow below. */
export const mapped = new Map<string, Target>([
  ["bootstrap.servers", ["brokers", brokers]],
  ["client.id", ["clientId", text]],
  ["metadata.max.age.ms", ["metadataAge", millis(1, 86_400_000)]],
  ["socket.timeout.ms", ["requestTimeout", millis(10, 300_000)]],
  ["request.timeout.ms", ["requestTimeout", millis(1, 900_000), "producer"]],
  ["socket.connection.setup.timeout.ms", ["connectTimeout", millis(1000, 2_147_483_647)]],
  ["group.id", ["group", text, "consumer"]],
  [
    "auto.offset.reset",
    [
      "from",
      oneOf({
        earliest: "earliest",
        smallest: "earliest",
        beginning: "earliest",
        latest: "latest",
        largest: "latest",
        end: "latest",
        error: "none"
      }),
      "consumer"
    ]
  ],
  ["isolation.level", ["isolation", same("read_committed", "read_uncommitted"), "consumer"]],
  ["session.timeout.ms", ["session.timeout", millis(1, 3_600_000), "consumer"]],
  ["heartbeat.interval.ms", ["session.heartbeat", millis(1, 3_600_000), "consumer"]],
  ["max.poll.interval.ms", ["session.rebalance", millis(1, 86_400_000), "consumer"]],
  ["fetch.wait.max.ms", ["fetch.wait", millis(0, 300_000), "consumer"]],
  ["fetch.min.bytes", ["fetch.bytesMin", bytes(1, 100_000_000), "consumer"]],
  ["fetch.max.bytes", ["fetch.bytesMax", bytes(1, 2_147_483_135), "consumer"]],
  ["max.partition.fetch.bytes", ["fetch.partitionBytesMax", bytes(1, 1_000_000_000), "consumer"]],
  ["acks", ["acks", acks, "producer"]],
  [
    "compression.type",
    ["compression", { ...same("none", "gzip", "snappy", "lz4", "zstd"), ...inherited() }, "producer"]
  ],
  ["enable.idempotence", ["idempotent", truth, "producer"]]
])

/** A topic's `inherit` means the global value, which eventor's one map cannot have besides. */
function inherited(): Pick<Kind, "read"> {
  return {
    read: oneOf({ none: "none", gzip: "gzip", snappy: "snappy", lz4: "lz4", zstd: "zstd", inherit: "none" }).read
  }
}

/** How the brokers are reached and who we are to them: read together, since one says whether another counts. */
export const security = words(`
  security.protocol sasl.mechanism sasl.username sasl.password sasl.oauthbearer.method sasl.oauthbearer.client.id
  sasl.oauthbearer.client.secret sasl.oauthbearer.scope sasl.oauthbearer.token.endpoint.url ssl.ca.location ssl.ca.pem
  ssl.certificate.location ssl.certificate.pem ssl.key.location ssl.key.pem ssl.key.password ssl.keystore.location
  ssl.keystore.password enable.ssl.certificate.verification ssl.endpoint.identification.algorithm
`)

/** Accepted with one value, which is what happens here anyway. */
export const fixed = new Map<string, readonly [kind: Kind, role?: Role]>([
  ["group.protocol", [same("classic"), "consumer"]],
  ["offset.store.method", [same("broker"), "consumer"]],
  [
    "enable.sasl.oauthbearer.unsecure.jwt",
    [{ expected: "false", read: (value) => (truth.read(value) === false ? "false" : undefined) }]
  ],
  ["sasl.oauthbearer.grant.type", [same("client_credentials")]],
  ["sasl.oauthbearer.metadata.authentication.type", [same("none")]]
])

const commits = "what is settled is committed, and nothing else, whatever this says"

/** Said otherwise here; `enable.auto.commit: false` is what eventor's own document asks for and needs no word. */
export const said = new Map<string, string>([
  ["enable.auto.commit", commits],
  ["auto.commit.interval.ms", commits],
  ["enable.auto.offset.store", commits]
])

/** What a producer or a consumer would do otherwise without them, and we cannot do with them. */
export const unsupported = new Map<string, readonly [since: string, role?: Role]>([
  ["group.instance.id", ["static membership of a group is not supported", "consumer"]],
  ["transactional.id", ["eventor's answers are published without transactions", "producer"]],
  ["ssl.crl.location", ["lists of revoked certificates are not supported"]],
  ["ssl.engine.location", ["engines of OpenSSL are not supported"]],
  ["ssl.providers", ["providers of OpenSSL are not supported"]],
  ["https.ca.location", ["the token endpoint is checked with the system's certificates"]],
  ["https.ca.pem", ["the token endpoint is checked with the system's certificates"]],
  ["sasl.oauthbearer.extensions", ["extensions of tokens are not supported"]],
  ["sasl.oauthbearer.config", ["tokens come from sasl.oauthbearer.token.endpoint.url"]],
  ["plugin.library.paths", ["plugins of librdkafka cannot be loaded"]],
  ["topic.blacklist", ["there is one topic, which is named"]]
])

/** They only tune librdkafka: what they would change is decided otherwise here. */
const tuning = words(`
  builtin.features message.max.bytes message.copy.max.bytes receive.message.max.bytes max.in.flight
  max.in.flight.requests.per.connection metadata.recovery.strategy metadata.recovery.rebootstrap.trigger.ms
  topic.metadata.refresh.interval.ms topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.fast.cnt
  topic.metadata.refresh.sparse topic.metadata.propagation.max.ms debug socket.blocking.max.ms socket.send.buffer.bytes
  socket.receive.buffer.bytes socket.keepalive.enable socket.nagle.disable socket.max.fails broker.address.ttl
  broker.address.family connections.max.idle.ms reconnect.backoff.jitter.ms reconnect.backoff.ms
  reconnect.backoff.max.ms statistics.interval.ms enabled_events log_level log.queue log.thread.name enable.random.seed
  log.connection.close internal.termination.signal api.version.request api.version.request.timeout.ms
  api.version.fallback.ms broker.version.fallback allow.auto.create.topics ssl.cipher.suites ssl.curves.list
  ssl.sigalgs.list ssl.ca.certificate.stores ssl.engine.id sasl.kerberos.service.name sasl.kerberos.principal
  sasl.kerberos.kinit.cmd sasl.kerberos.keytab sasl.kerberos.min.time.before.relogin
  sasl.oauthbearer.assertion.algorithm sasl.oauthbearer.assertion.private.key.file
  sasl.oauthbearer.assertion.private.key.passphrase sasl.oauthbearer.assertion.private.key.pem
  sasl.oauthbearer.assertion.file sasl.oauthbearer.assertion.claim.aud sasl.oauthbearer.assertion.claim.exp.seconds
  sasl.oauthbearer.assertion.claim.iss sasl.oauthbearer.assertion.claim.jti.include
  sasl.oauthbearer.assertion.claim.nbf.seconds sasl.oauthbearer.assertion.claim.sub
  sasl.oauthbearer.assertion.jwt.template.file retry.backoff.ms retry.backoff.max.ms client.dns.lookup client.rack
  enable.metrics.push go.events.channel.enable go.events.channel.size go.logs.channel.enable go.logs.channel
`)
const tuningOf: Readonly<Record<Role, ReadonlySet<string>>> = {
  consumer: words(`
    partition.assignment.strategy group.protocol.type group.remote.assignor coordinator.query.interval.ms
    queued.min.messages queued.max.messages.kbytes fetch.queue.backoff.ms fetch.error.backoff.ms enable.partition.eof
    check.crcs offset.store.path offset.store.sync.interval.ms consume.callback.max.messages
    go.application.rebalance.enable
  `),
  producer: words(`
    transaction.timeout.ms enable.gapless.guarantee queue.buffering.max.messages queue.buffering.max.kbytes
    queue.buffering.max.ms linger.ms message.send.max.retries retries queue.buffering.backpressure.threshold
    batch.num.messages batch.size delivery.report.only.error sticky.partitioning.linger.ms message.timeout.ms
    delivery.timeout.ms queuing.strategy produce.offset.report partitioner compression.level go.batch.producer
    go.delivery.reports go.delivery.report.fields go.produce.channel.size
  `)
}

function words(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/))
}

export const known: ReadonlyArray<string> = [
  ...[aliases, mapped, fixed, said, unsupported].flatMap((map) => [...map.keys()]),
  ...[security, tuning, tuningOf.consumer, tuningOf.producer].flatMap((set) => [...set])
]

export const roleOf = (name: string): Role | undefined => {
  if (said.has(name) || tuningOf.consumer.has(name)) return "consumer"
  if (tuningOf.producer.has(name)) return "producer"
  return mapped.get(name)?.[2] ?? fixed.get(name)?.[1] ?? unsupported.get(name)?.[1]
}
