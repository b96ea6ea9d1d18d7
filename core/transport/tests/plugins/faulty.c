/* The loopback driver with one thing made wrong: -DWRONG='p.abi_major = 7', for one. */
#define mg_transport_entry_v1 sound_entry
#include "loopback.c"
#undef mg_transport_entry_v1

#ifndef WRONG
#define WRONG (void)p
#endif
#ifndef ENTRY
#define ENTRY mg_transport_entry_v1
#endif

/* Wrong functions, to be put in place of the sound ones. */
static uint32_t polls;

static inline mg_status wrong_open(const mg_open *given, mg_instance **out, mg_limits *limits, mg_error *error) {
  (void)given, (void)out, (void)limits;
  memcpy(error->text, "no such\nradio", error->len = 13);
  error->os_error = 2;
  return MG_E_CONFIG;
}

static inline mg_status empty_open(const mg_open *given, mg_instance **out, mg_limits *limits, mg_error *error) {
  (void)given, (void)out, (void)limits, (void)error;
  return MG_OK;
}

static inline mg_status endless_open(const mg_open *given, mg_instance **out, mg_limits *limits, mg_error *error) {
  mg_status status = open_(given, out, limits, error);
  limits->max_frame = 0xffffffffu;
  return status;
}

static inline mg_status wrong_start(mg_instance *me, uint64_t now, mg_error *error) {
  (void)me, (void)now;
  memcpy(error->text, "the radio is silent", error->len = 19);
  return MG_E_TIMED_OUT;
}

/* Works until it has something to hand on, then breaks. */
static inline mg_status wrong_poll(mg_instance *me, uint64_t now, const mg_readiness *ready, uint32_t n, mg_step *step) {
  return me->count > 0 ? MG_E_INTERNAL : poll_(me, now, ready, n, step);
}

static inline mg_status wrong_send(mg_instance *me, const mg_batch *batch) {
  (void)me;
  return (mg_status)batch->frame_count + 1;
}

/* Says that there is room, and takes nothing for a long while. */
static inline mg_status balking_send(mg_instance *me, const mg_batch *batch) {
  return polls++ < 20 ? 0 : send_(me, batch);
}

/* Takes frames and never ends them. */
static inline mg_status keeping_send(mg_instance *me, const mg_batch *batch) {
  me->sums.tx_frames += batch->frame_count;
  me->sums.queued += batch->frame_count;
  return (mg_status)batch->frame_count;
}

static inline mg_status wrong_receive(mg_instance *me, mg_batch_out *out) {
  mg_status added = receive(me, out);
  if (added > 0) out->frames[added - 1].len += 1;
  return added;
}

static inline mg_status boasting_receive(mg_instance *me, mg_batch_out *out) { return receive(me, out) + 1; }

static inline mg_status overfull_receive(mg_instance *me, mg_batch_out *out) {
  mg_status added = receive(me, out);
  out->data_len = out->data_cap + 1;
  return added;
}

static inline mg_status fatal_events(mg_instance *me, mg_event *into, uint32_t max) {
  if (polls++ < 3) return events(me, into, max);
  *into = (mg_event){.kind = MG_EV_FATAL, .state = (uint32_t)MG_E_IO};
  memcpy(into->text, "antenna lost", into->text_len = 12);
  return 1;
}

static inline mg_status unknown_events(mg_instance *me, mg_event *into, uint32_t max) {
  if (polls++ != 3) return events(me, into, max);
  *into = (mg_event){.kind = 77};
  return 1;
}

static inline mg_status boasting_events(mg_instance *me, mg_event *into, uint32_t max) {
  (void)me, (void)into;
  return (mg_status)max + 1;
}

/* Uses every service of the host that needs no socket, then works on. */
static inline mg_status talking_start(mg_instance *me, uint64_t now, mg_error *error) {
  const mg_host *host = me->host;
  mg_str name = TEXT("beats"), line = TEXT("a line\nwith a break");
  uint8_t octets[16] = {0};
  uint32_t id = 0;
  host->log(host->ctx, MG_LOG_INFO, line);
  host->counter_add(host->ctx, name, 5);
  host->gauge_set(host->ctx, name, 7.4);
  host->random(host->ctx, octets, sizeof octets);
  host->wake(host->ctx);
  int random = 0;
  for (unsigned i = 0; i < sizeof octets; i++) random |= octets[i];
  if (host->now(host->ctx) == 0 || host->wall(host->ctx) < 1000000000000000000u || !random) return MG_E_INTERNAL;
  if (host->io_open(host->ctx, MG_IO_UDP, (mg_str){0}, (mg_str){0}, &id, error) != MG_E_NOT_FOUND ||
      host->io_open(host->ctx, MG_IO_TCP_LISTEN, name, (mg_str){0}, &id, error) != MG_E_NOT_FOUND ||
      host->io_open(host->ctx, 99, name, (mg_str){0}, &id, error) != MG_E_ARGUMENT ||
      host->io_open(host->ctx, MG_IO_TCP_LISTEN, name, (mg_str){0}, NULL, NULL) != MG_E_ARGUMENT ||
      host->io_accept(host->ctx, 12345, &id) != MG_E_NOT_FOUND || host->io_accept(host->ctx, 1, NULL) != MG_E_ARGUMENT ||
      host->io_read(host->ctx, 12345, octets, 1) != MG_E_NOT_FOUND || host->io_read(host->ctx, 1, NULL, 1) != MG_E_ARGUMENT ||
      host->io_write(host->ctx, 12345, octets, 1) != MG_E_NOT_FOUND || host->io_write(host->ctx, 1, NULL, 1) != MG_E_ARGUMENT ||
      host->io_send(host->ctx, 1, NULL) != MG_E_ARGUMENT || host->io_recv(host->ctx, 1, NULL) != MG_E_ARGUMENT ||
      host->io_peer(host->ctx, 1, name, &id) != MG_E_NOT_FOUND ||
      host->io_peer_address(host->ctx, 12345, 0, NULL, 0) != MG_E_NOT_FOUND ||
      host->io_control(host->ctx, 1, name, 0) != MG_E_NOT_FOUND)
    return MG_E_INTERNAL;
  host->io_interest(host->ctx, 12345, MG_READABLE);
  host->io_close(host->ctx, 12345);
  return start(me, now, error);
}

MG_EXPORT const mg_plugin *ENTRY(uint32_t host_minor);

MG_EXPORT const mg_plugin *ENTRY(uint32_t host_minor) {
  static mg_plugin p;
  p = *sound_entry(host_minor);
  (void)polls;
  WRONG;
#ifdef NOTHING
  return NULL;
#else
  return &p;
#endif
}
