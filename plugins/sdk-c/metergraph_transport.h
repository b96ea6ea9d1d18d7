/* Metergraph transport driver: the contract between the host and a plugin. `wit/transport.wit` has the same
 * calls with the same meaning for plugins that are components.
 *
 * A transport moves whole frames (C12.22 APDUs) between the host and numbered links: a TCP connection,
 * a node of a mesh. A plugin is a shared library with one exported function, mg_transport_entry_v1,
 * which answers a table of functions, mg_plugin. One instance is one [transport.NAME] of a graph.
 *
 * LIFE       entry -> open -> start -> { poll, send, receive, events, open_link, close_link, stats,
 *            command }* -> close -> events until there are none -> destroy. destroy may come at any
 *            time after open succeeded, and is the last call.
 * DRIVEN     The driver never drives. The host calls poll when the deadline that mg_step named has come,
 *            when an I/O object is ready, after send, and after wake. No call blocks; a call that takes
 *            longer than mg_open.call_budget_us is counted against the plugin.
 * OWNERSHIP  Memory is freed only by the side that made it. Pointers passed into a call are borrowed
 *            for that call. Results are written into memory that the caller brought. The texts in
 *            mg_plugin live as long as the library: for ever, the host never unmaps one. mg_host lives
 *            until destroy has returned.
 * THREADS    Calls on one instance never overlap, but may come from different threads one after
 *            another. Different instances may be called at the same time. A driver's own threads may
 *            use only host->wake, log, now and counter_add; none may run when destroy returns.
 * UNWINDING  No exception or panic crosses. A driver that catches one answers MG_E_INTERNAL, then and
 *            to every later call; the host destroys the instance and opens a new one.
 * PRESSURE   send takes a prefix of the batch; what it does not take stays with the host, and taking
 *            none is no error. What the host does not fetch by receive stays with the driver: one on
 *            a flow-controlled stream then stops reading, one on datagrams drops and counts.
 * VERSIONS   The entry symbol carries the major number. A struct with `size` grows only at its end; a
 *            reader looks at a field only where `size` covers it. Structs without `size` never change
 *            within a major, nor do enums lose or move a word. Reserved bits and fields are 0. A plugin
 *            runs under every host of its major whose minor is at least its min_host_minor.
 */
#ifndef METERGRAPH_TRANSPORT_H
#define METERGRAPH_TRANSPORT_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define MG_ABI_MAJOR 1u
#define MG_ABI_MINOR 0u
#define MG_ENTRY_SYMBOL "mg_transport_entry_v1"

/* What a call answers: 0 or a count when it went well, MG_E_* else. */
typedef int32_t mg_status;
enum {
  MG_OK = 0,
  MG_E_ARGUMENT = -1,     /* the caller broke the contract */
  MG_E_CONFIG = -2,       /* the configuration cannot be used */
  MG_E_DENIED = -3,       /* no grant allows it */
  MG_E_NOT_FOUND = -4,    /* no such grant, object, link or command */
  MG_E_WOULD_BLOCK = -5,  /* nothing to read, no room to write: wait for readiness */
  MG_E_CLOSED = -6,       /* the other side has closed in good order */
  MG_E_TIMED_OUT = -7,    /* the other side no longer answers */
  MG_E_BUSY = -8,         /* a limit is reached; try later */
  MG_E_TOO_LARGE = -9,
  MG_E_NO_MEMORY = -10,
  MG_E_UNSUPPORTED = -11,
  MG_E_IO = -12,          /* the operating system refused */
  MG_E_INTERNAL = -13     /* a fault of the answering side; for ever, when a driver says it */
};

/* UTF-8, not NUL-terminated. ptr may be NULL when len is 0. */
typedef struct {
  const char *ptr;
  size_t len;
} mg_str;

/* Filled by the called side beside a negative status. 248 bytes. */
typedef struct {
  char text[240];    /* one line for people, UTF-8 */
  uint16_t len;      /* octets used in text */
  uint16_t reserved;
  int32_t os_error;  /* errno, or 0 */
} mg_error;

/* mg_frame.bits */
enum {
  MG_F_PRIORITY = 1,   /* goes before others where a queue has classes */
  MG_F_BROADCAST = 2,  /* for every end device behind the link */
  MG_F_REPORT = 4      /* tx: exactly one MG_EV_TX event is wanted */
};

/* One frame: octets offset .. offset + len of the batch's data. 32 bytes. */
typedef struct {
  uint32_t link, offset, len, bits;
  uint64_t tag;  /* tx: given back in the report; rx: 0 */
  uint64_t at;   /* tx: drop it when it is not sent by then, 0 for never; rx: arrival. Host time, ns */
} mg_frame;

/* Frames to send, borrowed. */
typedef struct {
  const uint8_t *data;
  size_t data_len;
  const mg_frame *frames;
  uint32_t frame_count, reserved;
} mg_batch;

/* Room for received frames: the driver appends to both arrays and raises data_len and frame_count.
 * Both are 0 when receive is called, and data_cap is at least mg_limits.max_frame + 65536. */
typedef struct {
  uint8_t *data;
  size_t data_cap, data_len;
  mg_frame *frames;
  uint32_t frame_cap, frame_count;
} mg_batch_out;

/* mg_event.kind */
enum {
  MG_EV_LINK = 1,  /* a link changed: link, state MG_LINK_*, reason, mtu, hops, rssi, rtt, text = peer */
  MG_EV_TX = 2,    /* what became of a frame with MG_F_REPORT: link, tag, state MG_TX_*, at */
  MG_EV_NOTE = 3,  /* something to tell: reason, link or 0, tag = octets refused or 0, text */
  MG_EV_FATAL = 4  /* the driver cannot go on: state = a negative status, text */
};
/* mg_event.state of MG_EV_LINK. A link's number is announced by CONNECTING or UP before its first frame
 * and void after DOWN; frames of a link come out of receive before its DOWN comes out of events. */
enum { MG_LINK_CONNECTING, MG_LINK_UP, MG_LINK_DEGRADED, MG_LINK_DOWN };
/* mg_event.state of MG_EV_TX */
enum {
  MG_TX_DELIVERED,  /* the peer's link layer has it */
  MG_TX_SENT,       /* handed to the medium; more cannot be known */
  MG_TX_EXPIRED,    /* mg_frame.at passed first */
  MG_TX_FULL,       /* the link's queue had no room */
  MG_TX_LINK_DOWN,  /* no such link, or it went down first */
  MG_TX_FAILED
};
/* mg_event.reason: why a link went down or octets were refused. Append only. */
enum {
  MG_R_NONE,
  MG_R_PEER_CLOSED,       /* in good order, between two frames */
  MG_R_CLOSED_MID_FRAME,  /* by the peer within a frame */
  MG_R_IDLE,              /* nothing came or went for the time configured */
  MG_R_HALF_OPEN,         /* the peer no longer answers the network */
  MG_R_FRAMING,           /* octets that begin no frame, or a length that is none */
  MG_R_OVERSIZE,          /* a frame longer than configured */
  MG_R_FRAME_TIMEOUT,     /* a frame begun and not ended in time */
  MG_R_REFUSED,           /* the peer refused the connection */
  MG_R_UNREACHABLE,       /* the connection could not be made */
  MG_R_LINKS_MAX,         /* as many links as configured: further peers wait */
  MG_R_HOST_CLOSED,       /* the host asked for it */
  MG_R_SHUTDOWN,          /* the transport is closing */
  MG_R_IO                 /* the operating system reported an error */
};
/* 128 bytes */
typedef struct {
  uint32_t kind, link, state;
  uint32_t mtu, hops;
  int32_t rssi;      /* 1/256 dBm, 0 when unknown */
  uint64_t tag, at, rtt;
  char text[72];     /* peer address, detail: UTF-8, one line */
  uint32_t text_len; /* octets used in text */
  uint32_t reason;   /* MG_R_* */
} mg_event;

/* Answered by open: what the instance will keep to. */
typedef struct {
  uint32_t size;
  uint32_t max_frame;  /* octets of the longest frame, both ways */
  uint32_t tx_queue;   /* frames that it holds untransmitted, about */
  uint32_t max_links;
} mg_limits;

/* Sums since open. Every frame taken by send is in one place, and only there:
 * tx_frames = queued + tx_sent + tx_expired + tx_full + tx_link_down + tx_failed. */
typedef struct {
  uint32_t size;      /* set by the caller */
  uint32_t queued;    /* frames taken and not yet at an end */
  uint32_t links;     /* links that are up */
  uint32_t reserved;
  uint64_t tx_frames; /* taken by send */
  uint64_t tx_bytes;  /* of frames sent */
  uint64_t rx_frames, rx_bytes;
  uint64_t dropped;   /* received frames dropped for want of room (datagrams, radio) */
  uint64_t tx_sent;   /* sent or delivered */
  uint64_t tx_expired, tx_full, tx_link_down, tx_failed;
} mg_stats;

/* Readiness of an I/O object, level-triggered: told at every poll while it holds and is asked for. */
enum {
  MG_READABLE = 1,  /* read or accept will answer something, perhaps an error */
  MG_WRITABLE = 2,  /* write will take something; a new connection is made */
  MG_CLOSED = 4,    /* the peer has closed; told with MG_READABLE, what it sent can still be read */
  MG_ERROR = 8      /* read and write say which; told with MG_READABLE and MG_WRITABLE */
};
typedef struct {
  uint32_t id, ready;
} mg_readiness;

/* What the driver wants next, answered by poll. */
typedef struct {
  uint64_t deadline;       /* poll again by then; 0: no need */
  uint32_t tx_room;        /* frames that send would take now, about */
  uint8_t rx_pending;      /* 1: receive has something to give */
  uint8_t events_pending;  /* 1: events has something to give */
  uint8_t reserved[2];
} mg_step;

/* mg_host.log */
enum { MG_LOG_TRACE, MG_LOG_DEBUG, MG_LOG_INFO, MG_LOG_WARN, MG_LOG_ERROR };
/* mg_host.io_open: datagrams, a connection, a listener, a ready-made stream (a serial line, a pty). */
enum { MG_IO_UDP = 1, MG_IO_TCP_CONNECT = 2, MG_IO_TCP_LISTEN = 3, MG_IO_STREAM = 4 };

/* What the host gives; each function takes the ctx of this struct. None blocks.
 *
 * I/O objects belong to the host and are opened by the name of a grant in the graph file; nothing else
 * can be reached. Their numbers are void after io_close. io_* are called only from within a call of the
 * driver. Reading and writing answer the number of octets (1 or more), MG_E_WOULD_BLOCK, MG_E_CLOSED when
 * the peer closed in good order, MG_E_TIMED_OUT when it no longer answers, or MG_E_IO. What is
 * ready and not wanted now is silenced by io_interest, which is cheap: an interest that stays raised on
 * something ready means to be polled again at once. New objects start with no interest. */
typedef struct mg_host {
  uint32_t size, abi_minor;
  void *ctx;
  void (*log)(void *ctx, uint32_t level, mg_str message);
  uint64_t (*now)(void *ctx);   /* monotonic, ns; simulated time in a simulation */
  uint64_t (*wall)(void *ctx);  /* ns since 1970 */
  void (*random)(void *ctx, uint8_t *out, size_t len);
  /* names: at most 64 different ones, of a-z 0-9 _ ; further ones are counted together */
  void (*counter_add)(void *ctx, mg_str name, uint64_t by);
  void (*gauge_set)(void *ctx, mg_str name, double value);
  void (*wake)(void *ctx);      /* «poll me soon», from any thread */
  /* grant: a name from the graph; empty for the only grant of this kind. address: "IP:PORT" for a
   * connection, else empty. A connection is made when it is writable; when it failed, reading answers
   * MG_E_NOT_FOUND (nobody listens there), MG_E_TIMED_OUT or MG_E_IO. */
  mg_status (*io_open)(void *ctx, uint32_t kind, mg_str grant, mg_str address, uint32_t *id, mg_error *err);
  mg_status (*io_accept)(void *ctx, uint32_t id, uint32_t *new_id);
  mg_status (*io_read)(void *ctx, uint32_t id, uint8_t *buf, uint32_t len);
  mg_status (*io_write)(void *ctx, uint32_t id, const uint8_t *buf, uint32_t len);
  /* datagrams in batches: frame.link is the peer's number, frame.tag is unused. How many were taken or
   * added; io_recv appends as receive does and wants room for 65535 octets. */
  mg_status (*io_send)(void *ctx, uint32_t id, const mg_batch *batch);
  mg_status (*io_recv)(void *ctx, uint32_t id, mg_batch_out *batch);
  /* a peer's number for its address, when the grant covers it */
  mg_status (*io_peer)(void *ctx, uint32_t id, mg_str address, uint32_t *peer);
  /* answers the length needed, writes at most cap octets; peer is 0 for a stream */
  mg_status (*io_peer_address)(void *ctx, uint32_t id, uint32_t peer, char *out, uint32_t cap);
  /* serial lines: baud; and rts-cts, dtr, rts, break, each 0 or 1 */
  mg_status (*io_control)(void *ctx, uint32_t id, mg_str name, uint32_t value);
  void (*io_interest)(void *ctx, uint32_t id, uint32_t ready);
  void (*io_close)(void *ctx, uint32_t id);
} mg_host;

typedef struct mg_instance mg_instance; /* the driver's own */
typedef struct {
  uint32_t size, call_budget_us;
  mg_str name;    /* of the transport in the graph */
  mg_str config;  /* a JSON object, already checked against config_schema */
  const mg_host *host;
} mg_open;

/* What the driver gives; no function may be NULL. */
typedef struct mg_plugin {
  uint32_t size, abi_major, abi_minor; /* what the plugin was built with */
  uint32_t min_host_minor;             /* the oldest host that it runs under */
  uint32_t features, reserved;         /* 0 */
  mg_str name, version;                /* of the plugin */
  mg_str config_schema;                /* JSON Schema of its configuration */
  /* What it wants to reach, a JSON array of {"kind", "name", "needed", "purpose"}: kind is udp, tcp_connect,
   * tcp_listen or serial; `[]` for nothing. For people and for `check`; nothing is granted by it. */
  mg_str grants;
  mg_status (*open)(const mg_open *, mg_instance **out, mg_limits *, mg_error *);
  mg_status (*start)(mg_instance *, uint64_t now, mg_error *);
  mg_status (*poll)(mg_instance *, uint64_t now, const mg_readiness *, uint32_t n, mg_step *);
  mg_status (*send)(mg_instance *, const mg_batch *);             /* frames taken: a prefix */
  mg_status (*receive)(mg_instance *, mg_batch_out *);            /* frames added */
  mg_status (*events)(mg_instance *, mg_event *, uint32_t max);   /* events written */
  mg_status (*open_link)(mg_instance *, mg_str address, uint32_t *link, mg_error *);
  void (*close_link)(mg_instance *, uint32_t link);
  mg_status (*stats)(mg_instance *, mg_stats *);
  /* a command of the driver's own, JSON in and out; answers the octets written. cap is at least 65536; an
   * answer that is longer is MG_E_TOO_LARGE. */
  mg_status (*command)(mg_instance *, mg_str name, mg_str arguments, char *out, uint32_t cap);
  /* stop at once: close all I/O, report every frame that was taken and is not reported */
  mg_status (*close)(mg_instance *, uint64_t now);
  void (*destroy)(mg_instance *);      /* always succeeds, also after any failure */
} mg_plugin;

/* The one exported symbol. No side effects: it may be called to list plugins. NULL: this host is too
 * old for the plugin. */
#if defined(_WIN32)
#define MG_EXPORT __declspec(dllexport)
#else
#define MG_EXPORT __attribute__((visibility("default")))
#endif
MG_EXPORT const mg_plugin *mg_transport_entry_v1(uint32_t host_minor);

#if defined(__cplusplus)
static_assert(sizeof(mg_frame) == 32 && sizeof(mg_event) == 128 && sizeof(mg_error) == 248, "layout");
} /* extern "C" */
#elif __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(mg_frame) == 32, "layout");
_Static_assert(sizeof(mg_event) == 128, "layout");
_Static_assert(sizeof(mg_error) == 248, "layout");
#endif
#endif
