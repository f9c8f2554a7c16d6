// The language model that bench/dspy.cpp asks: tests/lm/server.py, a process of its own, on loopback.
//
// Thread-safety: one thread at a time, but for `ask`, which any may call.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lair/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

#include "processes.hpp"

namespace bench {

// A connection that posts JSON and reads the answers, and does no more than that needs.
class HttpConnection {
 public:
  explicit HttpConnection(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_port = htons(port);
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&place), sizeof place) != 0) {
      ::close(fd_);
      throw std::runtime_error("nobody listens on port " + std::to_string(port));
    }
    const int yes = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  }
  ~HttpConnection() { ::close(fd_); }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void post(std::string_view path, const std::string& body) {
    const std::string request = "POST " + std::string(path) +
                                " HTTP/1.1\r\nHost: lm\r\nAuthorization: Bearer sk\r\n" +
                                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    if (::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
      throw std::runtime_error("the language model takes no request");
    std::string answer;
    std::size_t wanted = std::string::npos;
    while (answer.size() < wanted) {
      char buffer[8192];
      const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
      if (count <= 0) throw std::runtime_error("the language model gives no answer");
      answer.append(buffer, static_cast<std::size_t>(count));
      const std::size_t head = answer.find("\r\n\r\n");
      if (wanted != std::string::npos || head == answer.npos) continue;
      wanted = head + 4 + std::stoul(answer.substr(answer.find("Content-Length: ") + 16));
    }
    if (answer.rfind("HTTP/1.1 200", 0) != 0) throw std::runtime_error("the language model says: " + answer);
  }

 private:
  int fd_;
};

class LanguageModel {
 public:
  explicit LanguageModel(const std::string& python)
      : program_({python, LAIR_BENCH_DIR "/../tests/lm/server.py", "--port", "0", "--until-eof"}),
        url_(program_.line()),
        port_(static_cast<std::uint16_t>(std::stoul(url_.substr(url_.rfind(':') + 1)))) {}

  const std::string& url() const { return url_; }

  // How long it takes to answer, from now on.
  void set_latency(double seconds) {
    const lair::Json rules = {{"latency", seconds}, {"answer", {{"answer", "something"}}}};
    HttpConnection(port_).post("/control", lair::Json{{"rules", rules}}.dump());
  }

  // A connection of its own, and what to post there to have it answer as it answers DSPy.
  std::uint16_t port() const { return port_; }
  static constexpr std::string_view kPath = "/v1/chat/completions";
  static std::string question() {
    const std::string form = "Your output fields are:\n1. `answer` (str)\n[[ ## completed ## ]]";
    const std::string asked =
        "[[ ## question ## ]]\nWhat is 1?\n\nRespond with the corresponding output fields, starting with the "
        "field "
        "`[[ ## answer ## ]]`, and then ending with the marker for `[[ ## completed ## ]]`.";
    return lair::Json{
        {"model", "gpt-4o-mini"},
        {"temperature", 0.7},
        {"messages", {{{"role", "system"}, {"content", form}}, {{"role", "user"}, {"content", asked}}}}}
        .dump();
  }

  double cpu_seconds() const { return bench::cpu_seconds(program_.pid()); }

 private:
  Program program_;
  const std::string url_;
  const std::uint16_t port_;
};

}  // namespace bench
