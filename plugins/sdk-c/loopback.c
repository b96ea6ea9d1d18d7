/* The smallest transport plugin: one link, and every frame sent on it comes back.
 *
 *   cc -shared -fPIC -O2 -fvisibility=hidden -I plugins/sdk-c -o libloopback.so plugins/sdk-c/loopback.c
 */
#include "metergraph_transport.h"
#include <stdlib.h>
#include <string.h>

#define LINK 1u
#define FRAME_MAX 4096u
#define FRAMES 64u /* that wait to be fetched */
#define EVENTS (FRAMES + 2u)
#define TEXT(text) {text, sizeof text - 1}

struct mg_instance {
  const mg_host *host;
  int open;
  struct {
    uint8_t data[FRAME_MAX];
    uint32_t len;
  } ring[FRAMES];
  uint32_t first, count;
  mg_event event[EVENTS];
  uint32_t events;
  mg_stats sums;
};

static void tell(mg_instance *me, mg_event event) {
  if (me->events < EVENTS) me->event[me->events++] = event;
}

static void tell_link(mg_instance *me, uint32_t state, uint32_t reason) {
  mg_event event = {.kind = MG_EV_LINK, .link = LINK, .state = state, .reason = reason, .mtu = FRAME_MAX};
  event.at = me->host->now(me->host->ctx);
  memcpy(event.text, "loopback", event.text_len = 8);
  tell(me, event);
}

static mg_status open_(const mg_open *given, mg_instance **out, mg_limits *limits, mg_error *error) {
  mg_instance *me = calloc(1, sizeof *me);
  if (me == NULL) {
    memcpy(error->text, "no memory", error->len = 9);
    return MG_E_NO_MEMORY;
  }
  me->host = given->host;
  *limits = (mg_limits){sizeof *limits, FRAME_MAX, FRAMES, 1};
  *out = me;
  return MG_OK;
}

static mg_status start(mg_instance *me, uint64_t now, mg_error *error) {
  (void)now, (void)error;
  me->open = 1;
  me->sums.links = 1;
  tell_link(me, MG_LINK_UP, MG_R_NONE);
  return MG_OK;
}

static mg_status poll_(mg_instance *me, uint64_t now, const mg_readiness *ready, uint32_t n, mg_step *step) {
  (void)now, (void)ready, (void)n;
  *step = (mg_step){.tx_room = FRAMES - me->count, .rx_pending = me->count > 0, .events_pending = me->events > 0};
  return MG_OK;
}

static mg_status send_(mg_instance *me, const mg_batch *batch) {
  uint32_t taken = 0;
  /* No more than there is room for; one event place stays free for the end of the link. */
  for (; me->open && taken < batch->frame_count && me->count < FRAMES && me->events < EVENTS - 1; taken++) {
    const mg_frame *frame = &batch->frames[taken];
    mg_event event = {.kind = MG_EV_TX, .link = frame->link, .tag = frame->tag, .state = MG_TX_DELIVERED};
    me->sums.tx_frames++;
    if (frame->link != LINK) {
      event.state = MG_TX_LINK_DOWN;
      me->sums.tx_link_down++;
    } else if (frame->len > FRAME_MAX || frame->offset > batch->data_len ||
               frame->len > batch->data_len - frame->offset) {
      event.state = MG_TX_FAILED;
      me->sums.tx_failed++;
    } else {
      uint32_t place = (me->first + me->count++) % FRAMES;
      memcpy(me->ring[place].data, batch->data + frame->offset, me->ring[place].len = frame->len);
      me->sums.tx_sent++;
      me->sums.tx_bytes += frame->len;
    }
    if (frame->bits & MG_F_REPORT) tell(me, event);
  }
  return (mg_status)taken;
}

static mg_status receive(mg_instance *me, mg_batch_out *out) {
  mg_status added = 0;
  while (me->count > 0 && out->frame_count < out->frame_cap) {
    uint32_t len = me->ring[me->first].len;
    if (len > out->data_cap - out->data_len) break;
    memcpy(out->data + out->data_len, me->ring[me->first].data, len);
    out->frames[out->frame_count++] =
        (mg_frame){.link = LINK, .offset = (uint32_t)out->data_len, .len = len, .at = me->host->now(me->host->ctx)};
    out->data_len += len;
    me->sums.rx_frames++;
    me->sums.rx_bytes += len;
    me->first = (me->first + 1) % FRAMES;
    me->count--;
    added++;
  }
  return added;
}

static mg_status events(mg_instance *me, mg_event *into, uint32_t max) {
  uint32_t count = me->events < max ? me->events : max;
  memcpy(into, me->event, count * sizeof *into);
  memmove(me->event, me->event + count, (me->events - count) * sizeof *into);
  me->events -= count;
  return (mg_status)count;
}

static mg_status open_link(mg_instance *me, mg_str address, uint32_t *link, mg_error *error) {
  (void)me, (void)address, (void)link, (void)error;
  return MG_E_UNSUPPORTED;
}

static void close_link(mg_instance *me, uint32_t link) {
  if (link == LINK && me->open) {
    me->open = 0;
    me->sums.links = 0;
    tell_link(me, MG_LINK_DOWN, MG_R_HOST_CLOSED);
  }
}

static mg_status stats(mg_instance *me, mg_stats *into) {
  if (into->size < sizeof *into) return MG_E_ARGUMENT;
  *into = me->sums;
  into->size = sizeof *into;
  return MG_OK;
}

static mg_status command(mg_instance *me, mg_str name, mg_str arguments, char *out, uint32_t cap) {
  (void)me, (void)name, (void)arguments, (void)out, (void)cap;
  return MG_E_NOT_FOUND;
}

static mg_status close_(mg_instance *me, uint64_t now) {
  (void)now;
  close_link(me, LINK);
  return MG_OK;
}

static void destroy(mg_instance *me) { free(me); }

static const mg_plugin plugin = {
    .size = sizeof plugin, .abi_major = MG_ABI_MAJOR, .abi_minor = MG_ABI_MINOR, .min_host_minor = 0,
    .name = TEXT("loopback"), .version = TEXT("1.0"),
    .config_schema = TEXT("{\"type\": \"object\", \"additionalProperties\": false}"),
    .grants = TEXT("[]"),
    .open = open_, .start = start, .poll = poll_, .send = send_, .receive = receive, .events = events,
    .open_link = open_link, .close_link = close_link, .stats = stats, .command = command, .close = close_,
    .destroy = destroy,
};

MG_EXPORT const mg_plugin *mg_transport_entry_v1(uint32_t host_minor) {
  (void)host_minor; /* the first minor of this major: no host is too old */
  return &plugin;
}
