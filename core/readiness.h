/* Tells the service manager that started us that we serve now, and are the main process: systemd's
 * protocol, sd_notify(3), which is one datagram to the socket that $NOTIFY_SOCKET names. Without
 * one, nothing happens. */
#ifndef CORE_READINESS_H
#define CORE_READINESS_H

/* Returns 0, or -errno. */
int readiness_tell(void);

#endif
