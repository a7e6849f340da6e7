// Every error a person can meet: its code, what it means, what to do, the status a command exits with, and whether an
// agent goes on by itself. docs/errors.md is made from this table (`bun run docs`).

/** `forever`: the agent tries again by itself. `ends`: trying again cannot help; the process exits. `-`: not an agent's. */
export type Retry = 'forever' | 'ends' | '-'

type Entry = { readonly exit: number; readonly agent: Retry; readonly means: string; readonly todo: string }

/** Exit statuses, by kind: what a script can tell apart. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  network: 3,
  trust: 4,
  refused: 5,
  address: 6,
  state: 7,
  version: 8,
} as const

export const ERRORS = {
  'W-USAGE': {
    exit: EXIT.usage,
    agent: 'ends',
    means: 'A flag or an argument is not one that the command understands.',
    todo: '`-h` after any command shows its flags and examples.',
  },
  'W-ADDRESS': {
    exit: EXIT.usage,
    agent: 'ends',
    means: 'An address is not of a form that warren reads.',
    todo: 'Write `5432`, `host:5432`, `[::1]:5432` or `unix:/path`; with a name and a public port, `ssh=22@20022`.',
  },
  'W-INVITE-FORM': {
    exit: EXIT.usage,
    agent: 'ends',
    means: 'The invite is damaged: it is not the whole line that a relay printed.',
    todo: "Copy it again, in single quotes, because of the '#'.",
  },
  'W-INVITE-SHARED': {
    exit: EXIT.usage,
    agent: 'ends',
    means: 'An invite for several uses was given on the command line, where every user of the machine can read it.',
    todo: 'Give it by --relay-file FILE, by `--relay -` on standard input, or in WARREN_RELAY.',
  },
  'W-ENVIRONMENT': {
    exit: EXIT.usage,
    agent: 'ends',
    means: 'The environment turns certificate checks off (NODE_TLS_REJECT_UNAUTHORIZED is set).',
    todo: 'Unset NODE_TLS_REJECT_UNAUTHORIZED and start again.',
  },
  'W-RELAY-UNREACHABLE': {
    exit: EXIT.network,
    agent: 'forever',
    means: 'No connection to the relay could be made.',
    todo: 'Check that the relay runs, and that its control port (7000 by default) is open in every firewall between. After some refusals a relay turns an address away without a word, for 15 s to 10 min; its log says so.',
  },
  'W-RELAY-LOST': {
    exit: EXIT.network,
    agent: 'forever',
    means: 'The connection to the relay broke, or fell silent for longer than the limit.',
    todo: 'Nothing: the agent connects again by itself, and the relay keeps the address.',
  },
  'W-RELAY-GOODBYE': {
    exit: EXIT.network,
    agent: 'forever',
    means: 'The relay is shutting down.',
    todo: 'Nothing: the agent comes back as soon as the relay does.',
  },
  'W-RELAY-BUSY': {
    exit: EXIT.network,
    agent: 'forever',
    means:
      'The relay has no file descriptor left for another connection or port, 64 processes of this key are connected already, or it cannot read or write its state.',
    todo: 'Nothing at the agent; on the relay, look at its log, at the free space and at its limit of open files.',
  },
  'W-RELAY-UNKNOWN': {
    exit: EXIT.trust,
    agent: 'ends',
    means: 'This machine has never met that relay, and without an invite there is nothing to know it by.',
    todo: 'Run `warren invite` on the relay, and give the line that it prints with --relay once.',
  },
  'W-RELAY-CHANGED': {
    exit: EXIT.trust,
    agent: 'ends',
    means:
      "The relay's key is not the one that was pinned: another machine answers at that address, or its state was lost.",
    todo: 'Ask whoever runs the relay. If the change was meant, use a new invite from it; otherwise do not connect.',
  },
  'W-REFUSED': {
    exit: EXIT.refused,
    agent: 'ends',
    means: "The relay does not allow this machine's key (or the invite's token is none of its own).",
    todo: 'On the relay, `warren keys list` shows who is allowed. `warren keys allow NAME` lets a revoked key in again; for a new one, `warren invite` makes an invite.',
  },
  'W-INVITE-SPENT': {
    exit: EXIT.refused,
    agent: 'ends',
    means: 'The invite was used already, as often as it may be.',
    todo: 'Run `warren invite` on the relay for a new one. If you did not use it, find out who did: `warren keys list`.',
  },
  'W-INVITE-EXPIRED': {
    exit: EXIT.refused,
    agent: 'ends',
    means: 'The invite is older than it may be. (30 days later a relay has forgotten it, and says W-REFUSED.)',
    todo: 'Run `warren invite` on the relay for a new one (`--ttl 1h` makes it last longer).',
  },
  'W-KEY-REVOKED': {
    exit: EXIT.refused,
    agent: 'ends',
    means: "This machine's key was revoked on the relay while it was in use.",
    todo: 'If that was a mistake: `warren keys allow NAME` on the relay.',
  },
  'W-REPLACED': {
    exit: EXIT.refused,
    agent: 'forever',
    means: 'Another process with the same key took over all tunnels of this one.',
    todo: 'Stop one of the two. This one waits 30 s or more before it tries again.',
  },
  'W-PROTOCOL': {
    exit: EXIT.version,
    agent: 'forever',
    means: 'The other side broke a rule of the protocol; that session was ended.',
    todo: 'If it happens again, compare `warren --version` at both ends, and report it with the log line.',
  },
  'W-VERSION': {
    exit: EXIT.version,
    agent: 'ends',
    means:
      'The relay and the agent, or a command and the relay that runs on the state folder, are of different versions.',
    todo: 'Install the same version of warren at both ends (`warren --version`).',
  },
  'W-NOT-WARREN': {
    exit: EXIT.version,
    agent: 'ends',
    means:
      'Something answers at that address, but it is not a warren relay. An agent that was let in there since its start tries again.',
    todo: "Check the host and the port: it is the relay's control port that is wanted (7000 by default).",
  },
  'W-PORT-TAKEN': {
    exit: EXIT.address,
    agent: 'ends',
    means:
      'The public port belongs to another key or rests in quarantine, another service of this key has it open, or another program on the relay has bound it. At its start this ends the whole agent; later it goes on asking.',
    todo: 'Leave --port out to get one from the pool, or another --name if the port is the one that the service had; `warren leases list` on the relay shows whose it is.',
  },
  'W-PORT-RANGE': {
    exit: EXIT.address,
    agent: 'ends',
    means:
      "The public port is outside the relay's range. At its start this ends the whole agent; later it goes on asking.",
    todo: 'Ask for one inside the range that the message names, or start the relay with other --ports.',
  },
  'W-LEASE-LIVE': {
    exit: EXIT.address,
    agent: '-',
    means: 'The lease cannot be freed: its agent is connected and has the port open.',
    todo: 'Stop that agent, or end its session with `warren keys revoke`, and free the port then.',
  },
  'W-POOL-EMPTY': {
    exit: EXIT.address,
    agent: 'forever',
    means:
      'Every port of the relay is leased or rests in quarantine; or this key has 256 of them, the most that one may have, and all are in use or another one was asked for.',
    todo: 'On the relay, give a wider range with --ports, or free a lease: `warren leases list`, `warren leases free PORT`.',
  },
  'W-PORT-BOUND': {
    exit: EXIT.address,
    agent: '-',
    means:
      'The address that the relay is to listen on is in use by another process, is not one of this machine, or is a port below 1024 that this user may not have.',
    todo: 'If it is in use: is another relay running? Otherwise choose another address with --listen or --bind.',
  },
  'W-LOCAL-DOWN': {
    exit: EXIT.ok,
    agent: 'forever',
    means: 'The local service does not answer at the address that the tunnel leads to; visitors are reset.',
    todo: 'Start the service, or correct the local address. The tunnel works again as soon as it answers.',
  },
  'W-STATE': {
    exit: EXIT.state,
    agent: 'ends',
    means: 'The state folder cannot be read or written, or a command that asks a relay finds nothing of one there.',
    todo: 'Check that it is the folder that is meant (--state), its owner, its mode (0700) and the free space.',
  },
  'W-STATE-NEWER': {
    exit: EXIT.state,
    agent: '-',
    means: "The relay's state was written by a newer warren.",
    todo: 'Run that version or a newer one; going back needs the backup that was made before the upgrade.',
  },
  'W-KEY-FILE': {
    exit: EXIT.state,
    agent: 'ends',
    means:
      "A key file is readable by others, or is not of the form that it should have: an agent's is an OpenSSH Ed25519 key without a passphrase; a relay's is a P-256 key in PKCS#8, beside the certificate made for it.",
    todo: "Set its mode with `chmod 600`; look at an agent's with `ssh-keygen -l -f FILE`; restore a relay's from a backup.",
  },
  'W-LOCKED': {
    exit: EXIT.state,
    agent: '-',
    means: 'Another relay, or a command for it, is using this state folder.',
    todo: 'Stop it first, or give this one a folder of its own with --state.',
  },
  'W-NOT-FOUND': {
    exit: EXIT.failed,
    agent: '-',
    means: 'There is no such key or lease.',
    todo: 'Look at the list: `warren keys list`, `warren leases list`.',
  },
  'W-CHECK': {
    exit: EXIT.failed,
    agent: '-',
    means: '`warren try --check` found the tunnel not to behave like a direct connection.',
    todo: 'Report it with the lines above.',
  },
  'W-INTERNAL': {
    exit: EXIT.failed,
    agent: 'ends',
    means: 'Something happened that warren did not foresee.',
    todo: 'Report it with the log; `--log-level debug` says more.',
  },
} as const satisfies Record<string, Entry>

export type Code = keyof typeof ERRORS

/**
 * What is behind the '#' of an invite, also of a damaged one, or looks like it. It may have been given in any wrong place,
 * and errors end up in logs. No label of a host has more than 63 characters, and no fingerprint; a folder's name may, in hex.
 */
const SECRET = /(?<=\/(#|%23))[^']{8,}|(?![0-9a-f]+(?![\w-]))[A-Za-z0-9_-]{64,}/g

/** An error that a person can act on. `message` is what happened here, in one sentence without a final stop. */
export class WarrenError extends Error {
  readonly code: Code
  /** What to do: its own, where what helps for the other errors of this code does not help here. */
  readonly todo: string

  constructor(code: Code, message: string, options: ErrorOptions & { readonly todo?: string } = {}) {
    super(message.replace(SECRET, '…'), options)
    this.name = 'WarrenError'
    this.code = code
    this.todo = options.todo ?? ERRORS[code].todo
  }

  get entry(): Entry {
    return ERRORS[this.code]
  }
}

/** Any thrown value as a WarrenError; what warren did not foresee becomes W-INTERNAL. */
export function asWarrenError(thrown: unknown): WarrenError {
  if (thrown instanceof WarrenError) return thrown
  return new WarrenError('W-INTERNAL', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown })
}
