// A worker in C that gives its arguments back: quick to start, and what comes back shows every byte that was lost.
// Protocol 1 on stdin and stdout. On start it leaves a detached process behind, so that there is something to sweep.
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int read_exactly(char* to, size_t size) {
  while (size > 0) {
    const ssize_t n = read(0, to, size);
    if (n <= 0) return 0;
    to += n;
    size -= (size_t)n;
  }
  return 1;
}

static int write_exactly(const char* from, size_t size) {
  while (size > 0) {
    const ssize_t n = write(1, from, size);
    if (n <= 0) return 0;
    from += n;
    size -= (size_t)n;
  }
  return 1;
}

// The end of the JSON object that begins at `text`.
static const char* end_of_object(const char* text) {
  int depth = 0;
  int quoted = 0;
  for (; *text != 0; ++text) {
    if (*text == '\\') {
      if (*++text == 0) break;
    } else if (*text == '"') {
      quoted = !quoted;
    } else if (!quoted && *text == '{') {
      ++depth;
    } else if (!quoted && *text == '}' && --depth == 0) {
      return text + 1;
    }
  }
  return NULL;
}

int main(void) {
  const int child = fork();
  if (child == 0) {
    setsid();
    if (fork() != 0) _exit(0);
    for (;;) pause();
  }
  waitpid(child, NULL, 0);
  uint32_t length = 0;
  while (read_exactly((char*)&length, sizeof length)) {
    length = ntohl(length);
    char* request = malloc((size_t)length + 1);
    char* reply = malloc((size_t)length + 128);
    if (request == NULL || reply == NULL || !read_exactly(request, length)) return 1;
    request[length] = 0;
    const char* id = strstr(request, "\"id\":");
    const char* arguments = strstr(request, "\"args\":");
    const char* end = arguments == NULL ? NULL : end_of_object(arguments + 7);
    if (id == NULL || end == NULL) return 1;
    const int is_ping = strstr(request, "\"initialization\":") != NULL;
    const int size = is_ping ? sprintf(reply + 4, "{\"id\":0,\"success\":true,\"result\":{\"status\":\"ok\"}}")
                             : sprintf(reply + 4, "{\"id\":%ld,\"success\":true,\"result\":%.*s}", atol(id + 5),
                                       (int)(end - arguments - 7), arguments + 7);
    length = htonl((uint32_t)size);
    memcpy(reply, &length, sizeof length);
    if (!write_exactly(reply, (size_t)size + 4)) return 1;
    free(request);
    free(reply);
  }
  return 0;
}
